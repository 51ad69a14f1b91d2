package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// Request is one call, as its Handler sees it. It is used by one goroutine.
type Request struct {
	Method string

	args json.RawMessage
	send func(answer) error
}

// Args decodes the call's arguments into v. A call without arguments leaves v
// as it is.
func (r *Request) Args(v any) error {
	if len(r.args) == 0 {
		return nil
	}
	if err := json.Unmarshal(r.args, v); err != nil {
		return fmt.Errorf("arguments of %s: %w", r.Method, err)
	}
	return nil
}

// Item sends one element of a long answer at once, so that a listing needs no
// memory for the whole of it. It fails when the caller has gone or does not
// read; the handler then gives up.
func (r *Request) Item(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("item of %s: %w", r.Method, err)
	}
	return r.send(answer{Item: b})
}

// Handler answers calls. ServeAdmin is called by several goroutines at once,
// one for each connection; ctx ends with the server and when the caller leaves
// in the middle of an answer. An error goes to the caller as its text.
type Handler interface {
	ServeAdmin(ctx context.Context, r *Request) (result any, err error)
}

// HandlerFunc is a function that is a Handler.
type HandlerFunc func(ctx context.Context, r *Request) (any, error)

// ServeAdmin calls f.
func (f HandlerFunc) ServeAdmin(ctx context.Context, r *Request) (any, error) { return f(ctx, r) }

// Func makes a Handler of a function with one argument and one result, both of
// types that encoding/json can carry.
func Func[A, R any](f func(ctx context.Context, args A) (R, error)) Handler {
	return HandlerFunc(func(ctx context.Context, r *Request) (any, error) {
		var args A
		if err := r.Args(&args); err != nil {
			return nil, err
		}
		return f(ctx, args)
	})
}

// Stream makes a Handler of a function that yields its results one by one. It
// stops with the error that yield gives.
func Stream[A, T any](f func(ctx context.Context, args A, yield func(T) error) error) Handler {
	return HandlerFunc(func(ctx context.Context, r *Request) (any, error) {
		var args A
		if err := r.Args(&args); err != nil {
			return nil, err
		}
		return nil, f(ctx, args, func(item T) error { return r.Item(item) })
	})
}

// Mux is a Handler that hands calls on by their method. All of its methods are
// registered before it serves.
type Mux struct {
	log      *slog.Logger
	handlers map[string]Handler
}

// NewMux gives an empty Mux. Faults of handlers go to log.
func NewMux(log *slog.Logger) *Mux {
	return &Mux{log: log, handlers: make(map[string]Handler)}
}

// Handle registers h for a method. It panics if there is one already: that is
// a mistake in the program.
func (m *Mux) Handle(method string, h Handler) {
	if _, ok := m.handlers[method]; ok {
		panic("admin: method registered twice: " + method)
	}
	m.handlers[method] = h
}

// ServeAdmin calls the handler of r's method. A handler that panics fails its
// call, not the server.
func (m *Mux) ServeAdmin(ctx context.Context, r *Request) (result any, err error) {
	h, ok := m.handlers[r.Method]
	if !ok {
		return nil, fmt.Errorf("the server knows no method %q; is it another version than this command?", r.Method)
	}
	defer func() {
		if p := recover(); p != nil {
			m.log.Error("admin call failed", "method", r.Method, "panic", p, "stack", string(debug.Stack()))
			result, err = nil, fmt.Errorf("%s failed inside the server; its log has the cause", r.Method)
		}
	}()
	return h.ServeAdmin(ctx, r)
}
