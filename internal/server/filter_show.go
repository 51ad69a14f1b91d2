package server

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/weirmail/weir/internal/admin"
)

// filterShow tells what applies to each process of a filter, read back from
// the system.
func (s *Server) filterShow(_ context.Context, args admin.Name, yield func(admin.FilterProcess) error) error {
	proc, err := s.process(args.Name)
	if err != nil {
		return err
	}
	for _, st := range s.filters.List() {
		if st.Name != proc {
			continue
		}
		for _, w := range st.Workers {
			if w.PID == 0 {
				continue
			}
			p, err := s.launcher.Show(w.PID)
			if errors.Is(err, os.ErrNotExist) {
				continue // it has ended since
			}
			if err != nil {
				return err
			}
			if err := yield(p); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("there is no filter %q", args.Name)
}
