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

// run runs the program and waits until it listens.
func (program Program) run(cmd *exec.Cmd, at site) (running, error) {
	p := &process{cmd: cmd, addr: at.addr, exited: make(chan struct{})}
	cmd.Dir = at.dir
	cmd.Env = append(os.Environ(), "HOME="+at.dir, "XDG_DATA_HOME="+at.dir, "XDG_CONFIG_HOME="+at.dir)
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	cmd.WaitDelay = patience // a process that left the group holds the pipe
	if program.looped {
		in, out, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer in.Close() // the program has its own
		defer out.Close()
		cmd.Stdin, cmd.Stdout = in, out
	}
	diesWithUs(cmd)
	if program.forks {
		ownGroup(cmd)
	}
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
	p.ended.Do(func() { kill(p.cmd) })
	<-p.exited
	return gone(p.addr) // a child may live a moment longer than its parent
}

// listening waits until the port answers, with a TCP connection and no more:
// a handshake would cost a ticket.
func (p *process) listening() error {
	return poll(p.addr, func(answer error) (bool, error) {
		if answer == nil {
			return true, nil
		}
		select {
		case <-p.exited:
			return false, fmt.Errorf("%w; it has ended: %v", answer, p.cmd.ProcessState)
		default:
			return false, nil
		}
	})
}

// gone waits until the port does not answer any more.
func gone(addr string) error {
	return poll(addr, func(answer error) (bool, error) { return answer != nil, nil })
}

// poll connects until the answer will do, or gives reason to give up.
func poll(addr string, will func(answer error) (do bool, err error)) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		conn, answer := net.Dial("tcp", addr)
		if answer == nil {
			conn.Close()
		}
		if do, err := will(answer); do || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("peer: %s after %v: %v", addr, patience, answer)
		}
	}
}

// A lockedBuffer keeps the beginning of what a process prints: openssl has a
// word for every connection that fails.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	const most = 16 << 10
	b.buf.Write(p[:min(len(p), max(0, most-b.buf.Len()))])
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
