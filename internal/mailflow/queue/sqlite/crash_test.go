package sqlite

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

// The crash test runs this binary again as a server that accepts and delivers
// as fast as it can, and kills it, again and again. Then everything that was
// acknowledged must have been delivered, with its body, and ids must not have
// come twice.

const crashDir = "WEIR_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := crashingServer(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// writtenDeliverer delivers by writing a line into a file: the id and the
// checksum of the body. Odd ids are deferred unless all is set.
type writtenDeliverer struct {
	f   *os.File
	all bool
}

func (d *writtenDeliverer) Destination(e *mail.Envelope) string { return e.Dest.Domain }

func (d *writtenDeliverer) Deliver(_ context.Context, j delivery.Job) []delivery.Outcome {
	later := []delivery.Outcome{{Status: delivery.Deferred, Enhanced: "4.2.0", Text: "later"}}
	if j.Message.ID%2 == 1 && !d.all {
		return later
	}
	r, err := j.Open()
	if err != nil {
		return later
	}
	defer r.Close()
	sum := crc32.NewIEEE()
	if _, err := io.Copy(sum, r); err != nil {
		return later
	}
	if _, err := fmt.Fprintf(d.f, "%v %08x\n", j.Message.ID, sum.Sum32()); err != nil {
		return later
	}
	return []delivery.Outcome{{Status: delivery.Delivered}}
}

func openDelivered(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, "delivered"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
}

func crashingServer(dir string) error {
	f, err := openDelivered(dir)
	if err != nil {
		return err
	}
	st, err := Open(filepath.Join(dir, "queue"), Options{})
	if err != nil {
		return err
	}
	q, err := queue.Open(context.Background(), st, &writtenDeliverer{f: f}, queue.Options{})
	if err != nil {
		return err
	}
	errs := make(chan error)
	go func() { errs <- q.Run(context.Background()) }()
	for range 8 {
		go func() {
			for {
				if err := acceptOne(q); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	return <-errs // it is killed before
}

// acceptOne commits a message and acknowledges it on standard output, one
// write for a line.
func acceptOne(q *queue.Queue) error {
	id, err := q.NewID()
	if err != nil {
		return err
	}
	s, err := q.Spool(id)
	if err != nil {
		return err
	}
	size := rand.IntN(8000)
	if rand.IntN(10) == 0 {
		size = queue.InlineBody + rand.IntN(100000)
	}
	body := bytes.Repeat([]byte{byte(rand.IntN(256))}, size)
	// What the parent learns without an acknowledgement: the id was given out.
	if _, err := fmt.Printf("id %v\n", id); err != nil {
		return err
	}
	if _, err := s.Write(body); err != nil {
		return err
	}
	e := mail.Envelope{Dest: mail.Address{Local: "u", Domain: fmt.Sprintf("d%d.example", rand.IntN(20))}, Action: "a"}
	if err := s.Commit(context.Background(), &mail.Message{}, []mail.Envelope{e}); err != nil {
		return err
	}
	_, err = fmt.Printf("ok %v %08x\n", id, crc32.ChecksumIEEE(body))
	return err
}

// crashes is what the parent knows.
type crashes struct {
	ids   map[string]bool
	acked map[string]string // checksum of the body by id
}

// crash runs the server until it is killed.
func (c *crashes) crash(t *testing.T, dir string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	s := bufio.NewScanner(out)
	for s.Scan() {
		once.Do(func() { // the moment is the point of the test
			time.AfterFunc(rand.N(120*time.Millisecond), func() { _ = cmd.Process.Kill() })
		})
		f := strings.Fields(s.Text())
		switch {
		case len(f) == 2 && f[0] == "id":
			if c.ids[f[1]] {
				t.Errorf("id %s was given twice", f[1])
			}
			c.ids[f[1]] = true
		case len(f) == 3 && f[0] == "ok" && len(f[2]) == 8:
			c.acked[f[1]] = f[2]
		}
	}
	err = cmd.Wait()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		t.Fatalf("the server ended by itself: %v", err)
	}
}

func TestCrash(t *testing.T) {
	const rounds = 25
	dir := t.TempDir()
	c := &crashes{ids: make(map[string]bool), acked: make(map[string]string)}
	for range rounds {
		c.crash(t, dir)
	}
	delivered := deliverRest(t, dir)
	lost, twice := 0, 0
	for id, sum := range c.acked {
		if len(delivered[id]) == 0 {
			lost++
		}
		for _, got := range delivered[id] {
			if got != sum {
				t.Errorf("message %s has another body", id)
			}
		}
	}
	for _, sums := range delivered {
		if len(sums) > 1 {
			twice += len(sums) - 1
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d acknowledged messages are lost", lost, len(c.acked))
	}
	if len(c.acked) < rounds {
		t.Errorf("only %d messages were acknowledged: the test tests nothing", len(c.acked))
	}
	t.Logf("%d kills, %d acknowledged, %d delivered twice (the kill fell between delivery and record)", rounds, len(c.acked), twice)
	// At the most, what is under way at once is repeated for each kill.
	if limit := rounds * queue.DefaultMaxDeliveries; twice > limit {
		t.Errorf("%d messages were delivered twice, more than %d", twice, limit)
	}
	if files := bodyFiles(t, filepath.Join(dir, "queue")); len(files) > 0 {
		t.Errorf("%d bodies are left of an empty queue", len(files))
	}
}

// deliverRest delivers what is in the queue, and gives the checksums of
// everything that was ever delivered.
func deliverRest(t *testing.T, dir string) map[string][]string {
	t.Helper()
	f, err := openDelivered(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st := openTest(t, filepath.Join(dir, "queue"))
	ctx, cancel := context.WithCancel(context.Background())
	q, err := queue.Open(ctx, st, &writtenDeliverer{f: f, all: true}, queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- q.Run(ctx) }()
	deadline := time.Now().Add(time.Minute)
	for {
		if _, err := q.Retry(ctx); err != nil {
			t.Fatal(err)
		}
		if c, err := q.Count(ctx); err != nil || c.Messages == 0 || time.Now().After(deadline) {
			if err != nil || c.Messages > 0 {
				t.Fatalf("queue has %+v after a minute, %v", c, err)
			}
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := st.Close(); err != nil { // waits for unlinking
		t.Error(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	delivered := make(map[string][]string)
	for s := bufio.NewScanner(f); s.Scan(); {
		if id, sum, ok := strings.Cut(s.Text(), " "); ok {
			delivered[id] = append(delivered[id], sum)
		}
	}
	return delivered
}
