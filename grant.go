package keybearer

import "strings"

// Level is a step of the one ladder use < view < edit < administer. The zero value allows nothing.
type Level uint8

// The levels. Each includes those before it; none lets anyone read a secret.
const (
	NoLevel    Level = iota
	Use              // send through the proxy
	View             // see in lists, kind, rules, status, last use; check
	Edit             // replace the secret; change kind, header, expiry, description
	Administer       // set grants and rules, enable, disable, delete, restore
)

var levelNames = [...]string{"none", "use", "view", "edit", "administer"}

// String returns the level's name.
func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return "none"
}

// ParseLevel returns the level of that name; "none" and unknown names are [Invalid].
func ParseLevel(s string) (Level, error) {
	for i, n := range levelNames[1:] {
		if s == n {
			return Level(i + 1), nil
		}
	}
	return NoLevel, NewError(Invalid, "a level is one of use, view, edit, administer")
}

// MarshalText returns the level's name.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText parses the level's name.
func (l *Level) UnmarshalText(b []byte) (err error) { *l, err = ParseLevel(string(b)); return err }

// Subject is who a grant is for: "app:<caller>", "user:<id>" or "group:<name>".
type Subject string

// AppSubject returns the subject of a caller.
func AppSubject(caller string) Subject { return Subject("app:" + caller) }

// UserSubject returns the subject of a person or operator.
func UserSubject(id string) Subject { return Subject("user:" + id) }

// GroupSubject returns the subject of a group.
func GroupSubject(name string) Subject { return Subject("group:" + name) }

// Split returns the kind ("app", "user", "group") and the name.
func (s Subject) Split() (kind, name string) {
	kind, name, _ = strings.Cut(string(s), ":")
	return kind, name
}

// ParseSubject checks the form of a subject. It returns an [Invalid] error. App names are caller names;
// user ids and group names are 1 to 255 printable ASCII characters without blanks.
func ParseSubject(s string) (Subject, error) {
	kind, name := Subject(s).Split()
	switch kind {
	case "app":
		if ValidName(name) {
			return Subject(s), nil
		}
	case "user", "group":
		if len(name) > 0 && len(name) <= 255 && strings.IndexFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) < 0 {
			return Subject(s), nil
		}
	}
	return "", NewError(Invalid, "a subject is app:<caller>, user:<id> or group:<name>").WithHint("for example app:billing")
}

// Grant gives a subject a level on one credential.
type Grant struct {
	Subject Subject `json:"subject"`
	Level   Level   `json:"level"`
}
