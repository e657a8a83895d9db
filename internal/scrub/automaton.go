package scrub

import "slices"

// automaton finds all forms in one pass (Aho and Corasick, 1975). Its nodes are the prefixes of forms, in order of length, so that the children
// of a node lie side by side, and those of the next node behind them. It is immutable.
type automaton struct {
	label []byte     // by which a node is reached from its parent
	first []int32    // child; the last is followed by the first of the next node
	fail  []int32    // the longest suffix that is a node too
	found []int32    // length of the longest form that ends here; 0: none does
	hold  []int32    // length of the longest suffix that a form goes on from
	start [256]int32 // children of the root, which is 0
}

func newAutomaton(words []string) *automaton {
	words = slices.Clone(words)
	slices.Sort(words)
	type group struct{ from, to, depth int } // words that share a prefix of that length
	a := &automaton{label: []byte{0}, fail: []int32{0}, found: []int32{0}, hold: []int32{0}}
	queue := []group{{0, len(words), 0}}
	for node := int32(0); int(node) < len(queue); node++ {
		g := queue[node]
		a.first = append(a.first, int32(len(queue)))
		for from := g.from; from < g.to; {
			if len(words[from]) == g.depth { // it ends here
				from++
				continue
			}
			c, to := words[from][g.depth], from+1
			for to < g.to && words[to][g.depth] == c {
				to++
			}
			a.add(node, c, words[from:to], g.depth+1)
			queue = append(queue, group{from, to, g.depth + 1})
			from = to
		}
		if node == 0 {
			for child := range a.label[1:] {
				a.start[a.label[child+1]] = int32(child + 1)
			}
		}
	}
	a.first = append(a.first, int32(len(queue)))
	return a
}

// add appends a child of a node, for these sorted words.
func (a *automaton) add(parent int32, c byte, words []string, depth int) {
	fail := int32(0)
	if parent != 0 {
		fail = a.next(a.fail[parent], c)
	}
	found, hold := a.found[fail], a.hold[fail]
	if len(words[0]) == depth {
		found = int32(depth)
	}
	if len(words[len(words)-1]) > depth {
		hold = int32(depth)
	}
	a.label, a.fail = append(a.label, c), append(a.fail, fail)
	a.found, a.hold = append(a.found, found), append(a.hold, hold)
}

// next returns the longest suffix of a node and a byte that is a node.
func (a *automaton) next(node int32, c byte) int32 {
	for node != 0 {
		for child, end := a.first[node], a.first[node+1]; child < end; child++ {
			if a.label[child] == c {
				return child
			}
		}
		node = a.fail[node]
	}
	return a.start[c]
}

// mask goes through text[from:] from a node, covers the forms that end there, and returns the node that it comes to. What a form may begin in,
// as many bytes before from as the hold of the node, must stand before from.
func (a *automaton) mask(node int32, text []byte, from int) int32 {
	for i := from; i < len(text); i++ {
		if node == 0 {
			for i < len(text) && a.start[text[i]] == 0 {
				i++
			}
			if i == len(text) {
				break
			}
		}
		node = a.next(node, text[i])
		if n := int(a.found[node]); n > 0 {
			cover(text[i+1-n : i+1])
		}
	}
	return node
}

// end covers what is held when the text ends, if it is long enough to be taken for a form that was cut short.
func (a *automaton) end(node int32, text []byte) {
	if n := int(a.hold[node]); n >= Least {
		cover(text[len(text)-n:])
	}
}

func cover(text []byte) {
	for i := range text {
		text[i] = star
	}
}
