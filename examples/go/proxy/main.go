// Sends a webhook through Keybearer as its proxy.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

func main() {
	log.SetFlags(0)
	proxy, err := url.Parse(os.Getenv("KEYBEARER_URL"))
	if err != nil {
		log.Fatal(err)
	}
	proxy.User = url.UserPassword("_", os.Getenv("KEYBEARER_TOKEN")) // "_" names no credential, as the header does
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = http.ProxyURL(proxy)
	client := &http.Client{
		Transport:     transport,
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}

	request, err := http.NewRequest("POST", "http://"+os.Getenv("WEBHOOK_HOST")+"/hook", strings.NewReader(`{"text": "deployed"}`))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Keybearer-Credential", os.Getenv("KEYBEARER_CREDENTIAL"))
	request.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		log.Fatal(err)
	}

	if strings.HasPrefix(answer.Header.Get("Proxy-Status"), "keybearer; error=") {
		var problem struct{ Code, Detail, Hint string }
		if err := json.Unmarshal(body, &problem); err != nil {
			log.Fatal(err)
		}
		log.Fatalf("keybearer: %s: %s\nhint: %s", problem.Code, problem.Detail, problem.Hint)
	}
	if answer.StatusCode/100 != 2 {
		log.Fatalf("the destination answered %s", answer.Status)
	}
	fmt.Printf("%s\n", body)
}
