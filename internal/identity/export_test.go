package identity

// Genuine returns how many JWTs are remembered.
func (j *JWT) Genuine() int {
	s := j.Issuer.known()
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.genuine)
}
