package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

//go:embed assets
var assetFiles embed.FS

// asset is a file that pages load. Its address holds a hash of what is in it, so that browsers keep it for good.
type asset struct {
	address string
	kind    string
	body    []byte
}

var assets, assetsByAddress = loadAssets()

func loadAssets() (byName, byAddress map[string]*asset) {
	byName, byAddress = map[string]*asset{}, map[string]*asset{}
	files, err := fs.ReadDir(assetFiles, "assets")
	if err != nil {
		panic(err)
	}
	for _, f := range files {
		body, err := assetFiles.ReadFile("assets/" + f.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(body)
		ext := path.Ext(f.Name())
		a := &asset{kind: mime.TypeByExtension(ext), body: body}
		if ext == ".js" {
			a.kind = "text/javascript; charset=utf-8"
		}
		a.address = strings.TrimSuffix(f.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext
		byName[f.Name()], byAddress[a.address] = a, a
	}
	return byName, byAddress
}

// assetPath is the address of an asset, for templates.
func assetPath(name string) (string, error) {
	a := assets[name]
	if a == nil {
		return "", fmt.Errorf("there is no asset %s", name)
	}
	return "/assets/" + a.address, nil
}

func serveAsset(w http.ResponseWriter, r *http.Request) {
	a := assetsByAddress[r.PathValue("file")]
	if a == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(a.body)
}
