package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
)

// floorRole is the least that a server could do for W7: it answers each line
// with 250, after each of some programs has had a line over a pipe and has
// given it back. What those add to it is the floor of what filters can add.
// Its first line of output is its address; it ends when its input does.
func floorRole(programs []string) error {
	pipes, err := startPipes(programs)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = answerLines(c, pipes)
			}()
		}
	}()
	fmt.Println(l.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// pipe leads to a program and back.
type pipe struct {
	in  io.Writer
	out *bufio.Reader
}

func startPipes(programs []string) ([]pipe, error) {
	var all []pipe
	for _, path := range programs {
		cmd := exec.Command(path)
		in, err := cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		all = append(all, pipe{in, bufio.NewReader(out)})
	}
	return all, nil
}

// question is as long as one of the filter protocol about MAIL.
var question = []byte(strings.Repeat("x", 99) + "\n")

func answerLines(c net.Conn, pipes []pipe) error {
	r := bufio.NewReader(c)
	if _, err := io.WriteString(c, "220 floor\r\n"); err != nil {
		return err
	}
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if bytes.HasPrefix(line, []byte("MAIL")) {
			for _, p := range pipes {
				if _, err := p.in.Write(question); err != nil {
					return err
				}
				if _, err := p.out.ReadSlice('\n'); err != nil {
					return err
				}
			}
		}
		if _, err := io.WriteString(c, "250 ok\r\n"); err != nil {
			return err
		}
	}
}
