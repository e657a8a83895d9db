package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/caddyserver/caddy/v2"

	"github.com/keybearer/keybearer/internal/anchor"
	"github.com/keybearer/keybearer/internal/custody"
)

// placed is a store module that says where its records are, and nothing of how they are reached: what may change of its configuration without
// making it another store.
type placed interface{ place() string }

// placeOf returns what tells a store from others.
func placeOf(guest StoreModule) string {
	if p, ok := guest.(placed); ok {
		return string(guest.CaddyModule().ID) + " " + p.place()
	}
	return guestKey(guest)
}

// openAnchor compares the store with its anchor. While records move from a former store, the anchor is that one's: the new store takes over its
// history, and gets an anchor of its own when it is opened alone.
func (c *core) openAnchor(ctx context.Context, a *App, logger *slog.Logger) (err error) {
	if a.Anchor == "off" {
		return nil
	}
	guest := a.store
	if a.formerStore != nil {
		guest = a.formerStore
	}
	if err := makeParent(a.Anchor); err != nil {
		return fmt.Errorf("anchor: %w", err)
	}
	c.anchor, err = anchor.Open(ctx, anchor.Config{
		Path: a.Anchor, Place: placeOf(guest), Kind: guest.CaddyModule().ID.Name(), Store: c.store, Logger: logger,
	})
	if err != nil {
		return fmt.Errorf("anchor: %w", err)
	}
	c.add(c.anchor.Close)
	return nil
}

// tellAnchor has custody keep to the anchor, and look at it.
func (c *core) tellAnchor(cfg *custody.Config) {
	if c.anchor == nil {
		cfg.Others = append(cfg.Others, custody.Other{Name: "anchor", Diagnoser: anchor.Off{}})
		return
	}
	cfg.Anchor = c.anchor
	cfg.Others = append(cfg.Others, custody.Other{Name: "anchor", Diagnoser: c.anchor})
}

// trusted returns what tells whether the store's records may be relied on; nil: they always may.
func (c *core) trusted() func() error {
	if c.anchor == nil {
		return nil
	}
	return c.anchor.Holds
}

// locateAnchor finds the path of the anchor.
func locateAnchor(path *string) error {
	if err := locate(path, "anchor"); err != nil {
		return fmt.Errorf("anchor: %w", err)
	}
	if err := notDirectory(*path); err != nil {
		return fmt.Errorf("anchor: %w", err)
	}
	return nil
}

// AnchorPath returns the path of the anchor that a configuration, in Caddy's JSON, leads to.
func AnchorPath(config []byte) (string, error) {
	var parsed struct {
		Apps struct {
			Keybearer struct {
				Anchor string `json:"anchor"`
			} `json:"keybearer"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(caddy.RemoveMetaFields(config), &parsed); err != nil {
		return "", err
	}
	path := parsed.Apps.Keybearer.Anchor
	if path == "off" {
		return "", errors.New("the configuration says anchor off: there is none")
	}
	err := locateAnchor(&path)
	return path, err
}
