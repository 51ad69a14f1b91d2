package descriptor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestWait(t *testing.T) {
	none := &os.PathError{Op: "open", Path: "x", Err: syscall.EMFILE}
	other := errors.New("no such thing")
	for _, tt := range []struct {
		name  string
		fails int // times for want of a descriptor
		then  error
		ends  time.Duration // of ctx
		took  time.Duration
		want  error
	}{
		{"at once", 0, nil, time.Hour, 0, nil},
		{"another error", 0, other, time.Hour, 0, other},
		{"later", 3, nil, time.Hour, 3 * pause, nil},
		{"later another error", 1, other, time.Hour, pause, other},
		{"never", 1 << 30, nil, time.Hour, Patience, syscall.EMFILE},
		{"given up", 1 << 30, nil, time.Second, time.Second, syscall.EMFILE},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), tt.ends)
			defer cancel()
			begin, n := time.Now(), 0
			v, err := Wait(ctx, func() (string, error) {
				if n++; n <= tt.fails {
					return "", fmt.Errorf("dial: %w", none)
				}
				return "it", tt.then
			})
			if took := time.Since(begin); !errors.Is(err, tt.want) || took != tt.took || (v == "it") != (n > tt.fails) {
				t.Errorf("%s: %q, %v after %v", tt.name, v, err, took)
			}
		})
	}
}
