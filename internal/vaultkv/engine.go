package vaultkv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keybearer/keybearer/internal/vaultclient"
)

// engine is a path on a mount of the KV engine, version 2.
type engine struct {
	client *vaultclient.Client
	mount  string
	path   string
}

// version is one version of one secret. A secret that was deleted and made anew begins with 1 again, at another time.
type version struct {
	number  uint64
	created string
}

var (
	errAbsent   = errors.New("there is no such secret")
	errConflict = errors.New("the secret was written by somebody else meanwhile")
	errExpires  = errors.New("what is written to this mount is deleted after a time")
	errNotKV    = errors.New("the mount does not answer like the KV engine, version 2")
)

// meta is what the engine says of a version.
type meta struct {
	Version   uint64 `json:"version"`
	Created   string `json:"created_time"`
	Deletion  string `json:"deletion_time"`
	Destroyed bool   `json:"destroyed"`
}

// content is what a secret of ours holds.
type content struct {
	Text string `json:"text"`
}

func (e *engine) at(kind, secret string) string {
	return e.mount + "/" + kind + "/" + e.path + "/" + secret
}

// read returns the text of a secret, or errAbsent.
func (e *engine) read(ctx context.Context, secret string) ([]byte, version, error) {
	var answer struct {
		Data *struct {
			Data     *content `json:"data"`
			Metadata meta     `json:"metadata"`
		} `json:"data"`
	}
	if err := e.do(ctx, http.MethodGet, e.at("data", secret), nil, &answer); err != nil {
		return nil, version{}, err
	}
	if answer.Data == nil || answer.Data.Metadata.Version == 0 {
		return nil, version{}, errNotKV
	}
	m := answer.Data.Metadata
	if answer.Data.Data == nil || answer.Data.Data.Text == "" {
		return nil, version{}, errDamaged{fmt.Errorf("secret %s has no text in it", secret)}
	}
	return []byte(answer.Data.Data.Text), version{m.Version, m.Created}, nil
}

// write writes a secret whose current version has the number cas, 0 for one that is not there, or returns errConflict. With errExpires
// it is written, and will be gone one day. After any other error it may be written or not.
func (e *engine) write(ctx context.Context, secret string, text []byte, cas uint64) (version, error) {
	body := map[string]any{"data": content{string(text)}, "options": map[string]any{"cas": cas}}
	var answer struct {
		Data meta `json:"data"`
	}
	err := e.do(ctx, http.MethodPut, e.at("data", secret), body, &answer)
	switch {
	case vaultclient.Status(err) == http.StatusBadRequest && strings.Contains(err.Error(), "check-and-set parameter did not match"):
		return version{}, errConflict
	case err != nil:
		return version{}, err
	case answer.Data.Version == 0:
		return version{}, errNotKV
	case answer.Data.Deletion != "":
		err = errExpires
	}
	return version{answer.Data.Version, answer.Data.Created}, err
}

// metadata is what the engine says of a secret.
type metadata struct {
	Current     uint64          `json:"current_version"`
	Versions    map[string]meta `json:"versions"`
	MaxVersions uint64          `json:"max_versions"`
	CASRequired bool            `json:"cas_required"`
}

// describe returns the metadata of a secret, or errAbsent.
func (e *engine) describe(ctx context.Context, secret string) (m metadata, err error) {
	answer := struct {
		Data *metadata `json:"data"`
	}{&m}
	err = e.do(ctx, http.MethodGet, e.at("metadata", secret), nil, &answer)
	return m, err
}

// current returns the current version of a secret without reading it, or errAbsent.
func (e *engine) current(ctx context.Context, secret string) (version, error) {
	m, err := e.describe(ctx, secret)
	if err != nil {
		return version{}, err
	}
	v, ok := m.Versions[strconv.FormatUint(m.Current, 10)]
	if !ok || v.gone() {
		return version{}, errAbsent
	}
	return version{m.Current, v.Created}, nil
}

// gone reports whether the version can no longer be read.
func (m meta) gone() bool {
	at, err := time.Parse(time.RFC3339Nano, m.Deletion)
	return m.Destroyed || m.Deletion != "" && (err != nil || !at.After(time.Now()))
}

// guard makes the metadata of a secret that is not there yet: one version is kept, and every write must name the one that it replaces.
func (e *engine) guard(ctx context.Context, secret string) error {
	return e.do(ctx, http.MethodPut, e.at("metadata", secret), map[string]any{"max_versions": 1, "cas_required": true}, nil)
}

// list returns the names of all secrets on the path.
func (e *engine) list(ctx context.Context) ([]string, error) {
	var answer struct {
		Data struct {
			Keys []string `json:"keys"`
		} `json:"data"`
	}
	err := e.do(ctx, "LIST", e.at("metadata", ""), nil, &answer)
	if errors.Is(err, errAbsent) {
		return nil, nil
	}
	return answer.Data.Keys, err
}

// destroy deletes secrets with all versions and their metadata. Those that are not there are passed over.
func (e *engine) destroy(ctx context.Context, secrets []string) error {
	return parallel(secrets, func(secret string) error {
		return e.do(ctx, http.MethodDelete, e.at("metadata", secret), nil, nil)
	})
}

// do makes one request and reads the answer. It returns errAbsent for what is not there, and errNotKV for a 404 that says nothing of that: of a mount
// that is missing, or of a proxy that has no Vault behind it.
func (e *engine) do(ctx context.Context, method, path string, body, answer any) error {
	text, err := e.client.Do(ctx, vaultclient.Request{Method: method, Path: path, Body: body})
	if e, ok := errors.AsType[*vaultclient.Error](err); ok && e.Status == http.StatusNotFound && !e.Login {
		if !e.Nothing || method == http.MethodPut {
			return errNotKV
		}
		return errAbsent
	}
	if err != nil || answer == nil {
		return err
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return errNotKV
	}
	return nil
}

// check returns errNotKV when the mount is known to be something else.
func (e *engine) check(ctx context.Context) error {
	var answer struct {
		Data struct {
			Type    string            `json:"type"`
			Options map[string]string `json:"options"`
		} `json:"data"`
	}
	err := e.do(ctx, http.MethodGet, "sys/internal/ui/mounts/"+e.mount, nil, &answer)
	switch {
	case forbidden(err) || errors.Is(err, errAbsent):
		return nil // it will show
	case err != nil:
		return err
	case answer.Data.Type != "kv" || answer.Data.Options["version"] != "2":
		return errNotKV
	}
	return nil
}

// forbidden reports whether the role may not do what was tried; a login that is refused says nothing of that.
func forbidden(err error) bool {
	e, ok := errors.AsType[*vaultclient.Error](err)
	return ok && e.Status == http.StatusForbidden && !e.Login
}

// inFlight is how many requests of one operation are under way at a time.
const inFlight = 16

// parallel calls fn for each name. It returns when all have returned, with the first error, after which no more are called.
func parallel(names []string, fn func(name string) error) error {
	slots := make(chan struct{}, inFlight)
	var wg sync.WaitGroup
	var first atomic.Pointer[error]
	for _, name := range names {
		slots <- struct{}{}
		if first.Load() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := fn(name); err != nil {
				first.CompareAndSwap(nil, &err)
			}
		})
	}
	wg.Wait()
	if err := first.Load(); err != nil {
		return *err
	}
	return nil
}
