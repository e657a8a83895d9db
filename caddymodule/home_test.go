package caddymodule

import "testing"

func TestHome(t *testing.T) {
	for _, tt := range []struct{ home, data, user, want string }{
		{"/srv/kb", "/data", "/home/ann", "/srv/kb"},
		{"", "/data", "/home/ann", "/data/keybearer"},
		{"", "relative", "/home/ann", "/home/ann/.local/share/keybearer"},
		{"", "", "/home/ann", "/home/ann/.local/share/keybearer"},
		{"", "", "", ""},
	} {
		t.Setenv("KEYBEARER_HOME", tt.home)
		t.Setenv("XDG_DATA_HOME", tt.data)
		t.Setenv("HOME", tt.user)
		got, err := Home()
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%+v: got %q, %v", tt, got, err)
		}
	}
}
