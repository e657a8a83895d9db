package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
)

// authorization is the header that every proxy must add.
const authorization = "Bearer bench-2b7e151628aed2a6"

// serveDestination is the whole of the destination process: a TLS server that reads requests with a Content-Length and answers
// 200 if the header is right, else 400. It ends only with an error.
func serveDestination(addr, pem string) error {
	cert, err := tls.LoadX509KeyPair(pem, pem)
	if err != nil {
		return err
	}
	ln, err := tls.Listen("tcp", addr, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}})
	if err != nil {
		return err
	}
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go answer(conn)
	}
}

func answer(conn net.Conn) {
	defer conn.Close()
	var (
		buf     [16 << 10]byte
		n       int
		judged  []byte // the last head that was judged: most are the same as the one before
		length  int
		ok      = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
		refused = []byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	)
	for {
		end := bytes.Index(buf[:n], []byte("\r\n\r\n"))
		if end >= 0 {
			if head := buf[:end+2]; !bytes.Equal(head, judged) {
				var err error
				if length, err = judge(head); err != nil {
					_, _ = conn.Write(refused)
					return
				}
				judged = bytes.Clone(head)
			}
			if all := end + 4 + length; n >= all {
				n = copy(buf[:], buf[all:n])
				if _, err := conn.Write(ok); err != nil {
					return
				}
				continue
			}
		}
		more, err := conn.Read(buf[n:])
		if err != nil || more == 0 {
			return
		}
		n += more
	}
}

// judge returns the length of the body, and an error unless the header has come exactly once.
func judge(head []byte) (int, error) {
	found := 0
	for line := range bytes.Lines(head) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Authorization")) {
			if string(bytes.TrimSpace(value)) != authorization {
				return 0, fmt.Errorf("wrong header")
			}
			found++
		}
	}
	if found != 1 {
		return 0, fmt.Errorf("the header came %d times", found)
	}
	return contentLength(head)
}
