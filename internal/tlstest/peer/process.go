package peer

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"
)

const (
	patience = 20 * time.Second      // bounds every wait for a program
	look     = 10 * time.Millisecond // between two looks at its port
)

// A process is a program and the processes it started.
type process struct {
	cmd    *exec.Cmd
	addr   string
	output lockedBuffer
	exited chan struct{}
	ended  sync.Once // killed: the group's id may be another's from then on
}

// startProcess runs a program and waits until it listens.
func startProcess(cmd *exec.Cmd, dir, addr string, looped bool) (*process, error) {
	p := &process{cmd: cmd, addr: addr, exited: make(chan struct{})}
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	cmd.WaitDelay = patience // a process that left the group holds the pipe
	if looped {
		in, out, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer in.Close() // the program has its own
		defer out.Close()
		cmd.Stdin, cmd.Stdout = in, out
	}
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		cmd.Wait() // "signal: killed" is what is asked for
		close(p.exited)
	}()
	if err := p.listening(); err != nil {
		p.stop()
		return nil, fmt.Errorf("peer: %s does not listen: %w\n%s", cmd, err, p.output.String())
	}
	return p, nil
}

// stop kills the processes and waits until they and their port are gone. They
// are throwaways and get no notice: that is how a machine dies, too.
func (p *process) stop() error {
	p.ended.Do(func() { killGroup(p.cmd) })
	<-p.exited
	// A child may live a moment longer than its parent, and hold the port.
	return p.poll(func(err error) bool { return err != nil })
}

// listening waits until the port answers, with a TCP connection and no more:
// a handshake would cost a ticket.
func (p *process) listening() error {
	return p.poll(func(err error) bool { return err == nil })
}

// poll connects until the outcome is good.
func (p *process) poll(good func(error) bool) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		conn, err := net.Dial("tcp", p.addr)
		if err == nil {
			conn.Close()
		}
		if good(err) {
			return nil
		}
		select {
		case <-p.exited:
			if err != nil {
				return fmt.Errorf("%w; it has ended: %v", err, p.cmd.ProcessState)
			}
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v: %v", patience, err)
		}
	}
}

// A lockedBuffer keeps what a process prints.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
