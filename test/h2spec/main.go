// Command h2spec tries a listener on the rules of HTTP/2 (RFC 9113) and HPACK (RFC 7541), and writes a report in the form of JUnit. It exits
// with 0 whatever it found: who reads the report judges.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/summerwind/h2spec"
	"github.com/summerwind/h2spec/config"
)

func main() {
	c := config.Config{Timeout: 2 * time.Second, MaxHeaderLen: 4000, Path: "/", Strict: true, Insecure: true}
	flag.StringVar(&c.Host, "host", "127.0.0.1", "address")
	flag.IntVar(&c.Port, "port", 443, "port")
	flag.StringVar(&c.JUnitReport, "report", "", "file to write")
	flag.BoolVar(&c.TLS, "tls", false, "with TLS")
	flag.DurationVar(&c.Timeout, "timeout", c.Timeout, "for each answer")
	flag.Parse()
	c.Sections = flag.Args()
	if _, err := h2spec.Run(&c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
