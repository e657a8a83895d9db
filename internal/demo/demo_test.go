package demo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// script writes a shell script that stands for the server.
func script(t *testing.T, text string) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	path = filepath.Join(dir, "server")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir, path
}

// notify is shell text that sends a datagram to the socket of whoever waits.
const notify = `python3 -c 'import os,socket,sys; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(sys.argv[1].encode(), os.environ["NOTIFY_SOCKET"])' `

func TestStartServerWaitsForReady(t *testing.T) {
	dir, path := script(t, "env > env\n"+notify+"RELOADING=1\n"+notify+"READY=1\nexec sleep 60\n")
	t.Setenv("HTTP_PROXY", "http://elsewhere.example")
	s, err := StartServer(t.Context(), dir, []string{"EXTRA=1"}, path)
	if err != nil {
		t.Fatal(err)
	}
	env, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil {
		t.Fatal(err)
	}
	for want, is := range map[string]bool{"KEYBEARER_HOME=" + dir: true, "EXTRA=1": true, "HTTP_PROXY": false} {
		if strings.Contains(string(env), want) != is {
			t.Errorf("environment holds %s: %v, want %v", want, !is, is)
		}
	}
	if err := s.Stop(); err == nil {
		t.Error("sleep ends by a signal, which is not exit code 0, and Stop did not say so")
	}
	select {
	case <-s.Exited():
	default:
		t.Error("Stop returned before the process had ended")
	}
	if _, err := os.Stat(filepath.Join(dir, "ready.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the socket is still there")
	}
}

func TestStartServerGivesTheLastWords(t *testing.T) {
	for name, text := range map[string]string{
		"ends":                   "echo no such luck >&2; exit 1\n",
		"says so, then is ready": notify + "STATUS=bad\n" + notify + "READY=1\necho no such luck >&2; exit 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir, path := script(t, text)
			_, err := StartServer(t.Context(), dir, nil, path)
			if err == nil || !strings.Contains(err.Error(), "no such luck") {
				t.Fatalf("error %v, want the server's last words", err)
			}
		})
	}
}

func TestStartServerStopsWaiting(t *testing.T) {
	dir, path := script(t, "exec sleep 60\n")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := StartServer(ctx, dir, nil, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v", err)
	}
}

func TestDestinationKeepsWhatArrives(t *testing.T) {
	d, err := NewDestination()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(d.RootPEM()) {
		t.Fatal("no root")
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	res, err := client.Post("https://"+d.Addr+"/a%2Fb?c=1;d", "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.StatusCode != 200 || string(body) != "{\"ok\":true}\n" {
		t.Errorf("answer %d %q", res.StatusCode, body)
	}
	<-d.Arrived()
	got := d.Take()
	if len(got) != 1 || got[0].Method != "POST" || got[0].Target != "/a%2Fb?c=1;d" || string(got[0].Body) != "hello" ||
		got[0].Host != d.Addr || got[0].Proto != "HTTP/2.0" || got[0].TLS != "TLS 1.3" || got[0].Header.Get("Content-Type") != "text/plain" {
		t.Errorf("received %+v", got)
	}
	if again := d.Take(); len(again) != 0 {
		t.Errorf("taken twice: %+v", again)
	}
	if _, err := http.Get("https://" + d.Addr); err == nil {
		t.Error("its certificate is trusted without its root")
	}
}
