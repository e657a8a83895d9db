package admin

import (
	"crypto/sha256"
	_ "embed" // openapi.json
	"encoding/hex"
	"net/http"
)

//go:generate go test -run IsCurrent -update .

// description is what the table of operations and the types that serve say, as OpenAPI 3.1. It is the same in every instance.
//
//go:embed openapi.json
var description []byte

var descriptionTag = func() string {
	sum := sha256.Sum256(description)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}()

// describe answers anybody with the description: it holds nothing of the instance.
func describe(x *exchange) (*reply, error) {
	h := x.w.Header()
	h.Set("ETag", descriptionTag)
	h.Set("Cache-Control", "no-cache")
	if x.Request.Header.Get("If-None-Match") == descriptionTag {
		x.w.WriteHeader(http.StatusNotModified)
		return nil, nil
	}
	h.Set("Content-Type", "application/json")
	_, _ = x.w.Write(description)
	return nil, nil
}
