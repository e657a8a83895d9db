package examples

import "testing"

func (w *world) verify(t *testing.T)    {}
func (w *world) workflows(t *testing.T) {}
