package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
)

// refusals are what must not happen, each with the code that says so.
func (s *stage) refusals(ctx context.Context, shop, stranger app) error {
	target, body := "http://"+s.destination.Addr+"/orders", `{"order":1043}`
	crm := []string{"Keybearer-Credential", "demo/crm"}
	read, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	read.Header.Set(crm[0], crm[1])
	try := func(what string, code keybearer.Code, req *http.Request, proxy *url.URL) error {
		status, answer, _, err := send(ctx, req, proxy)
		if err != nil {
			return err
		}
		var problem struct {
			Code   keybearer.Code `json:"code"`
			Detail string         `json:"detail"`
			Hint   string         `json:"hint"`
		}
		_ = json.Unmarshal(answer, &problem)
		arrived := s.destination.Take()
		s.check(problem.Code == code && status == code.Info().Status && len(arrived) == 0, "%-44s %d %s", what, status, problem.Code)
		if problem.Code != code {
			s.p.indented(fmt.Sprintf("expected %d %s", code.Info().Status, code))
		}
		if len(arrived) > 0 {
			s.p.indented("the destination received it all the same")
		}
		if problem.Hint != "" {
			s.p.indented(s.c.style.dim(problem.Hint))
		}
		return nil
	}
	ours := s.proxyURL("_", shop.token)
	for _, t := range []struct {
		what  string
		code  keybearer.Code
		req   *http.Request
		proxy *url.URL
	}{
		{"to a host that no rule admits", keybearer.DestinationNotAllowed, post("http://collect.example/orders", body, crm...), ours},
		{"to a path that no rule admits", keybearer.DestinationNotAllowed, post("http://"+s.destination.Addr+"/admin", body, crm...), ours},
		{"with a method that the rule does not list", keybearer.MethodNotAllowed, read, ours},
		{"by an app without a grant", keybearer.CredentialForbidden, post(target, body, crm...), s.proxyURL("_", stranger.token)},
		{"by nobody in particular", keybearer.CallerUnauthenticated, post(target, body, crm...), &url.URL{Scheme: "http", Host: s.proxy}},
	} {
		if err := try(t.what, t.code, t.req, t.proxy); err != nil {
			return err
		}
	}
	s.p.printf("\n")
	if _, err := s.keybearer(ctx, "", "credential", "disable", "demo/crm"); err != nil {
		return err
	}
	if err := try("with a disabled credential", keybearer.CredentialDisabled, post(target, body, crm...), ours); err != nil {
		return err
	}
	_, err = s.keybearer(ctx, "", "credential", "enable", "demo/crm")
	return err
}

// audit shows the log and checks that it has every use and every refusal.
func (s *stage) audit(ctx context.Context, uses int) error {
	codes := []keybearer.Code{
		keybearer.DestinationNotAllowed, keybearer.MethodNotAllowed, keybearer.CredentialForbidden,
		keybearer.CallerUnauthenticated, keybearer.CredentialDisabled,
	}
	var intents, outcomes int
	var refused []keybearer.Code
	// Outcomes are written a moment after the app has its answer.
	for deadline := time.Now().Add(3 * time.Second); ; {
		out, talk, status := s.silently(ctx, "", "audit", "tail", "-n", "200", "-o", "json")
		if status != 0 {
			return fmt.Errorf("the audit log cannot be read: %s", strings.TrimSpace(talk))
		}
		intents, outcomes, refused = 0, 0, nil
		for text := range strings.Lines(out) {
			var e keybearer.Event
			if err := json.Unmarshal([]byte(text), &e); err != nil {
				return err
			}
			switch {
			case e.Kind == keybearer.RefusalEvent:
				refused = append(refused, e.Code)
			case e.Kind == keybearer.UseEvent && e.Phase == keybearer.Intent:
				intents++
			case e.Kind == keybearer.UseEvent && e.DestinationStatus == http.StatusOK:
				outcomes++
			}
		}
		if outcomes >= uses && len(refused) >= len(codes) || time.Now().After(deadline) || ctx.Err() != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	out, err := s.keybearer(ctx, "", "audit", "tail", "-n", "30")
	if err != nil {
		return err
	}
	s.p.indented(out)
	s.p.printf("\n")
	s.check(intents == uses && outcomes == uses, "%d uses, each with its intent and its outcome", uses)
	missing := slices.DeleteFunc(slices.Clone(codes), func(c keybearer.Code) bool { return slices.Contains(refused, c) })
	s.check(len(missing) == 0, "every refusal with its code%s", listedCodes(missing))
	return nil
}

func listedCodes(codes []keybearer.Code) string {
	names := make([]string, len(codes))
	for i, c := range codes {
		names[i] = string(c)
	}
	if len(names) == 0 {
		return ""
	}
	return ", without " + strings.Join(names, ", ")
}

// search looks for the secrets in every file of the home: database, log of the server, audit log.
func (s *stage) search() {
	var found []string
	files := 0
	_ = filepath.WalkDir(s.home, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		files++
		for _, secret := range s.secrets {
			for _, form := range []string{
				secret, base64.StdEncoding.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte("ada:" + secret)),
				hex.EncodeToString([]byte(secret)), url.QueryEscape(secret),
			} {
				if bytes.Contains(text, []byte(form)) {
					found = append(found, filepath.Base(path))
					return nil
				}
			}
		}
		return nil
	})
	s.check(files > 0 && len(found) == 0, "no secret in any of the %d files that the server wrote%s", files, listed(found))
}
