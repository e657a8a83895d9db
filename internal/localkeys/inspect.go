package localkeys

// Inspect reads the keyring's files, whether a process has it open at the moment or not, and changes nothing. It returns the latest version of each key
// by name; nil when there is neither KEK nor ring, so that [Open] would make both.
//
// It returns [keybearer.KeyringUnavailable] for whatever Open would refuse.
func Inspect(c Config) (map[string]uint32, error) {
	text, err := readFile(c.Path + ringSuffix)
	if err != nil {
		return nil, err
	}
	var key *kek
	if c.KEK.IsZero() {
		key, err = readKEK(c.Path)
	} else {
		key, err = parseKEK([]byte(c.KEK.Reveal()))
	}
	if err != nil {
		return nil, err
	}
	if key != nil {
		defer key.clear()
	}
	switch {
	case text == nil && (key == nil || !c.KEK.IsZero()), key == nil && emptyRing(text):
		return nil, nil
	case text == nil:
		return nil, ringMissing(c.Path)
	case key == nil:
		return nil, kekMissing(c.Path)
	}
	r, err := parseRing(text, key)
	if err != nil {
		return nil, ringError(c, c.Path+ringSuffix, err)
	}
	defer r.forgetAllBut(newRing())
	versions := make(map[string]uint32, len(r.keys))
	for name, all := range r.keys {
		versions[name] = uint32(len(all))
	}
	return versions, nil
}
