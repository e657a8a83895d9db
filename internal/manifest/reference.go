package manifest

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keybearer/keybearer"
)

// Reference says where a secret is: "{file./path}" or "{env.NAME}", as in a Caddyfile.
type Reference struct {
	source string // "file" or "env"
	name   string
	at     string
}

// parseReference reads text that is one reference and nothing else.
func parseReference(text string) (*Reference, bool) {
	inner, opened := strings.CutPrefix(text, "{")
	inner, closed := strings.CutSuffix(inner, "}")
	source, name, found := strings.Cut(inner, ".")
	if !opened || !closed || !found || name == "" || strings.ContainsAny(name, "{}") || strings.ContainsFunc(name, unicode.IsControl) {
		return nil, false
	}
	switch source {
	case "file":
	case "env":
		if strings.ContainsFunc(name, func(r rune) bool { return r != '_' && (r > '~' || !unicode.IsLetter(r) && !unicode.IsDigit(r)) }) {
			return nil, false
		}
	default:
		return nil, false
	}
	return &Reference{source: source, name: name}, true
}

// String returns the reference as it is written. It holds nothing of the secret.
func (r *Reference) String() string { return "{" + r.source + "." + r.name + "}" }

// read returns what the reference stands for, less one line break at its end. It returns [keybearer.SecretInvalid], whose text holds nothing
// of what was read. A relative path is below the working directory.
func (r *Reference) read(getenv func(string) string) (keybearer.Secret, error) {
	var text string
	switch r.source {
	case "env":
		if text = getenv(r.name); text == "" {
			return keybearer.Secret{}, r.bad("is not set", "set the variable for this command, or give the secret in a file")
		}
	default:
		b, err := readBounded(r.name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return keybearer.Secret{}, r.bad("is not there", "put the secret into the file, or change the path")
		case errors.Is(err, fs.ErrPermission):
			return keybearer.Secret{}, r.bad("may not be read by this user", "let the user who applies read it")
		case err != nil:
			return keybearer.Secret{}, r.bad("cannot be read", "")
		}
		text = string(b)
	}
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	switch {
	case text == "":
		return keybearer.Secret{}, r.bad("is empty", "put the secret into it")
	case len(text) > keybearer.MaxBundle:
		return keybearer.Secret{}, r.bad("exceeds 64 KiB", "")
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return keybearer.Secret{}, r.bad("has a line break or another control character, or is not UTF-8 text", "it holds one secret, on one line")
	}
	return keybearer.NewSecret(text), nil
}

func (r *Reference) bad(what, hint string) error {
	return keybearer.NewError(keybearer.SecretInvalid, r.at+": "+r.String()+" "+what).WithHint(hint)
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, keybearer.MaxBundle+3))
}
