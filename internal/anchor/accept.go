package anchor

import (
	"slices"

	"github.com/keybearer/keybearer"
)

// Accept takes the store that was refused for what it is: its anchor goes back to what was found, and the server serves from it. It returns
// the entry as it was. store is the beginning of an id; "" will do where only one store is refused.
//
// It returns [keybearer.Conflict] when no store is refused, or more than one fits, and what [Read] returns.
func Accept(path, store string) (Entry, error) {
	entries, err := Read(path)
	if err != nil {
		return Entry{}, err
	}
	var fit []Entry
	for _, e := range entries {
		if e.Refused && len(store) <= len(e.ID) && e.ID[:len(store)] == store {
			fit = append(fit, e)
		}
	}
	switch {
	case len(fit) == 0:
		return Entry{}, keybearer.NewError(keybearer.Conflict, "no store is refused, so there is nothing to accept").
			WithHint("a store is refused by a server that starts with it, or runs on it; keybearer anchor show tells")
	case len(fit) > 1:
		return Entry{}, keybearer.NewError(keybearer.Conflict, "more than one store is refused").
			WithHint("name one by the beginning of its id, which keybearer anchor show tells")
	}
	was := fit[0]
	err = update(path, was.ID, func(e *Entry, _ bool) {
		if e.Refused {
			was = *e
			e.Sequence, e.Refused, e.Found = e.Found, false, 0
		}
	})
	return was, err
}

// Lost returns the numbers of the first and the last change that accepting the store gives up.
func (e Entry) Lost() (first, last uint64) { return e.Found + 1, e.Sequence }

// find returns the entry of a store.
func find(path, id string) (Entry, bool, error) {
	entries, err := Read(path)
	if err != nil {
		return Entry{}, false, err
	}
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.ID == id })
	if i < 0 {
		return Entry{}, false, nil
	}
	return entries[i], true, nil
}
