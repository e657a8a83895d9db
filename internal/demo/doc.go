// Package demo holds the stage of the demonstration: a destination with a certificate authority of its own, and a Keybearer
// server that runs as a child process in a temporary home. What is played on it, and how it looks, is the command's affair;
// the package knows neither Caddy nor the admin API.
package demo
