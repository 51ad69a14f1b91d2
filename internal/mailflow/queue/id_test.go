package queue

import (
	"testing"

	"pgregory.net/rapid"
)

func TestKeyIsABijection(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var k Key
		copy(k[:], rapid.SliceOfN(rapid.Byte(), len(k), len(k)).Draw(t, "key"))
		n := rapid.Uint32().Draw(t, "n")
		if got := k.Number(k.ID(n)); got != n {
			t.Fatalf("number %d has the id %v, which has the number %d", n, k.ID(n), got)
		}
	})
}

// The id that is zero is left out wherever it comes.
func TestNoZeroID(t *testing.T) {
	k := Key{9, 8, 7}
	n := uint64(k.Number(0))
	s := &idSource{key: k, next: n - 1, end: n + 2}
	first, err1 := s.id()
	second, err2 := s.id()
	if err1 != nil || err2 != nil || first == 0 || second != k.ID(uint32(n+1)) {
		t.Errorf("ids %v, %v; errors %v, %v", first, second, err1, err2)
	}
}
