package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
)

// A connection is ended between two requests. One that has begun to arrive is answered before.
func TestAnEndLosesNoRequestThatHasBegunToArrive(t *testing.T) {
	for _, tt := range []struct {
		name         string
		asked        int    // requests before the end
		begun, after string // sent before it and after it
		answered     bool
	}{
		{"nothing was asked", 0, "", "", false},
		{"between two requests", 2, "", "", false},
		{"the first has begun to arrive", 0, "GET", " / HTTP/1.1\r\nHost: x\r\n\r\n", true},
		{"another has begun to arrive", 1, "GET / HTTP/1.1\r\nHo", "st: x\r\n\r\n", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app, ours := net.Pipe()
				l := &lull{Conn: ours, silent: true}
				one := &oneConn{conn: l, closed: make(chan struct{})}
				server := &http.Server{Handler: http.NotFoundHandler(), ConnState: func(_ net.Conn, s http.ConnState) {
					switch s {
					case http.StateIdle:
						l.rest()
					case http.StateClosed:
						one.Close()
					}
				}}
				done := make(chan struct{})
				go func() { _ = server.Serve(one); close(done) }()
				r := bufio.NewReader(app)
				answer := func() error {
					res, err := http.ReadResponse(r, nil)
					if err == nil {
						_, err = io.Copy(io.Discard, res.Body)
					}
					return err
				}
				for range tt.asked {
					_, _ = io.WriteString(app, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
					if err := answer(); err != nil {
						t.Fatal(err)
					}
				}
				_, _ = io.WriteString(app, tt.begun)
				synctest.Wait()
				l.end()
				_, _ = io.WriteString(app, tt.after)
				if err := answer(); (err == nil) != tt.answered {
					t.Errorf("the answer is %v", err)
				}
				if _, err := r.ReadByte(); err == nil {
					t.Error("still open")
				}
				<-done
			})
		})
	}
}
