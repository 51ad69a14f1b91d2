package server

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mailflow/filter"
	"github.com/weirmail/weir/internal/mailflow/listener"
	"github.com/weirmail/weir/internal/privsep"
)

// Check tells what of a good configuration this machine, or whoever asks, does
// not have or may not do: addresses, programs of filters, what isolates them.
// Its lines begin with the place in the configuration, if they have one. The
// error is what a server would not even begin with.
func Check(ctx context.Context, cfg *config.Config) (lines []string, err error) {
	_, _, note, err := Separate(cfg)
	if err != nil {
		return nil, err
	}
	if note != "" {
		lines = append(lines, note)
	}
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	for _, l := range cfg.Listeners {
		if err := listener.Check(ctx, l); err != nil {
			lines = append(lines, err.Error())
		}
	}
	programs := filter.Programs{PythonBridge: findBridge("python"), PerlBridge: findBridge("perl")}
	for _, c := range cfg.Procs {
		if err := programs.Check(c); err != nil {
			lines = append(lines, fmt.Sprintf("%v: filter %q: would not start: %v", c.Pos, c.Name, err))
		}
	}
	for _, line := range privsep.New(cfg, slog.New(slog.DiscardHandler)).Check() {
		lines = append(lines, line+" (for the user who checks)")
	}
	return lines, nil
}
