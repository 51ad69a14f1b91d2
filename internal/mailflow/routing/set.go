package routing

// set is a set that costs nothing while it is small, as most are: one
// recipient is two nodes and one envelope.
type set[K comparable] struct {
	few  [4]K
	n    int
	many map[K]struct{}
}

// add puts k in and reports whether it was new.
func (s *set[K]) add(k K) bool {
	if s.many == nil {
		for i := range s.n {
			if s.few[i] == k {
				return false
			}
		}
		if s.n < len(s.few) {
			s.few[s.n] = k
			s.n++
			return true
		}
		s.many = make(map[K]struct{}, 2*len(s.few))
		for _, old := range s.few {
			s.many[old] = struct{}{}
		}
	}
	if _, ok := s.many[k]; ok {
		return false
	}
	s.many[k] = struct{}{}
	return true
}

// lower folds ASCII letters; other bytes keep their value, whatever they mean.
// It allocates only if there is something to fold.
func lower(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				if 'A' <= b[j] && b[j] <= 'Z' {
					b[j] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
