// Posts a webhook, and has never heard of Keybearer.
package main

import (
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	client := &http.Client{Timeout: 30 * time.Second}
	answer, err := client.Post(os.Getenv("WEBHOOK_URL"), "application/json", strings.NewReader(`{"text": "deployed"}`))
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(os.Stdout, answer.Body); err != nil {
		log.Fatal(err)
	}
	if answer.StatusCode/100 != 2 {
		log.Fatal(answer.Status)
	}
}
