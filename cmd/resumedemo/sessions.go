package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/dirstore"
	"github.com/tlsresume/tlsresume/internal/demo"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

// sessionsCommand looks into a directory of sessions and takes none.
func sessionsCommand(args []string) error {
	var o storeOptions
	flags := flag.NewFlagSet("resumedemo sessions", flag.ContinueOnError)
	o.Register(flags)
	asJSON := flags.Bool("json", false, "one JSON object per line")
	verb := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") { // which would ask for help
		verb, args = args[0], args[1:]
	}
	goOn, err := demo.Parse(flags, "list|show|clear -store DIR [flags] [ID]", args)
	switch {
	case !goOn:
		return err
	case !slices.Contains([]string{"list", "show", "clear"}, verb):
		return fmt.Errorf("%w: sessions wants list, show or clear first; try resumedemo sessions -h", demo.ErrUsage)
	case o.dir == "":
		return fmt.Errorf("%w: sessions wants -store DIR", demo.ErrUsage)
	case flags.NArg() > 0 && verb != "show" || flags.NArg() > 1:
		return fmt.Errorf("%w: too many arguments", demo.ErrUsage)
	}
	if err := o.mustBeThere(); err != nil {
		return err
	}
	scoped := false // of -scope only whether it was given tells one scope from all
	flags.Visit(func(f *flag.Flag) { scoped = scoped || f.Name == "scope" })
	switch verb {
	case "list":
		return o.list(scoped, *asJSON)
	case "show":
		return o.show(flags.Arg(0), scoped, *asJSON)
	}
	return o.clear(scoped)
}

// A found is a session in the store, as far as the key opens it.
type found struct {
	ID       string    `json:"id"`
	Status   string    `json:"status"` // Resumable, Expired or Sealed (with another key, or damaged)
	Scope    string    `json:"scope,omitempty"`
	Server   string    `json:"server,omitempty"`
	Version  string    `json:"version,omitempty"`
	Cipher   string    `json:"cipher_suite,omitempty"`
	Endpoint string    `json:"endpoint,omitempty"`
	Received time.Time `json:"received,omitzero"`
	Full     time.Time `json:"full_handshake,omitzero"`
	Leaf     time.Time `json:"leaf_not_after,omitzero"`
	Expires  time.Time `json:"expires,omitzero"`
	Size     int       `json:"size"`
}

// find looks at all that is there, or at one scope of it, by server and the
// newest first, which is the order a dial would try them in.
func (o *storeOptions) find(scoped bool) (all []found, err error) {
	store, keys, err := o.open()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	err = store.Peek(context.Background(), func(key string, e cache.Entry) bool {
		all = append(all, look(keys, key, e, now))
		return true
	})
	if st := store.Stats(); st.Foreign+st.Damaged > 0 {
		fmt.Fprintf(os.Stderr, "resumedemo: left alone: %d files or directories that are not a store's, %d damaged\n", st.Foreign, st.Damaged)
	}
	if scoped {
		all = slices.DeleteFunc(all, func(f found) bool { return f.Scope != o.scope })
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), b.Received.Compare(a.Received), cmp.Compare(a.ID, b.ID))
	})
	return all, err
}

// look opens an entry if it can. Whatever keeps it shut is "Sealed": why a seal
// does not open is nobody's to know, since that would help who forges one.
func look(keys *ticket.Keyring, key string, e cache.Entry, now time.Time) found {
	f := found{ID: e.ID, Status: "Sealed", Expires: e.Expires, Size: len(e.Value)}
	plain, err := keys.Open(key, e.ID, e.Expires, e.Value)
	if err != nil {
		return f
	}
	var record ticket.Record
	if record.UnmarshalBinary(plain) != nil {
		return f
	}
	info, err := ticket.Inspect(record.Ticket, record.State)
	if err != nil {
		return f
	}
	f.ID, f.Scope, f.Server, f.Endpoint = info.ID, record.Scope, record.Server, record.Endpoint
	f.Version, f.Cipher = tls.VersionName(info.Version), tls.CipherSuiteName(info.CipherSuite)
	f.Received, f.Full, f.Leaf = record.Received, record.FullHandshake, info.LeafNotAfter
	f.Expires, f.Status = record.Expires, resume.Resumable.String()
	if !now.Before(record.Expires) {
		f.Status = resume.Expired.String()
	}
	return f
}

// list is a line for each; what only the key's owner may know is a "?" to others.
func (o *storeOptions) list(scoped, asJSON bool) error {
	all, err := o.find(scoped)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(all)
	}
	table := tabwriter.NewWriter(demo.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SERVER\tSTATUS\tVERSION\tRECEIVED\tEXPIRES\tSCOPE\tID")
	for _, f := range all {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", cmp.Or(f.Server, "?"), f.Status, cmp.Or(f.Version, "?"),
			stamp(f.Received), stamp(f.Expires), cmp.Or(f.Scope, "?"), f.ID)
	}
	table.Flush()
	fmt.Fprintf(demo.Stdout, "%d sessions\n", len(all))
	return nil
}

// show tells all of the session with an ID, or of all.
func (o *storeOptions) show(id string, scoped, asJSON bool) error {
	all, err := o.find(scoped)
	if err != nil {
		return err
	}
	if id != "" {
		all = slices.DeleteFunc(all, func(f found) bool { return f.ID != id })
		if len(all) == 0 {
			return fmt.Errorf("no session %s", id)
		}
	}
	if asJSON {
		return printJSON(all)
	}
	for _, f := range all {
		fmt.Fprintf(demo.Stdout, "%s %s\n", f.ID, f.Status)
		table := tabwriter.NewWriter(demo.Stdout, 0, 0, 2, ' ', 0)
		for _, row := range [][2]string{
			{"server", f.Server}, {"endpoint", f.Endpoint}, {"scope", f.Scope}, {"version", f.Version},
			{"cipher suite", f.Cipher}, {"full handshake", stamp(f.Full)}, {"received", stamp(f.Received)},
			{"expires", stamp(f.Expires)}, {"leaf ends", stamp(f.Leaf)}, {"size", fmt.Sprint(f.Size, " bytes")},
		} {
			fmt.Fprintf(table, "  %s\t%s\n", row[0], cmp.Or(row[1], "?"))
		}
		table.Flush()
	}
	return nil
}

// clear clears the store, or one scope of it. Only the second needs the key,
// without which nobody can tell whose a session is: who has lost it can still
// throw everything away.
func (o *storeOptions) clear(scoped bool) error {
	if !scoped {
		store, err := dirstore.Open(o.dir, dirstore.Options{})
		if err != nil {
			return err
		}
		return store.Clear(context.Background())
	}
	var sessions resume.ClientCache
	scope, err := o.Use(&sessions)
	if err != nil {
		return err
	}
	return errors.Join(scope.Clear(context.Background()), sessions.Close())
}

// printJSON prints an object a line, as jq and grep want it, and so nothing of
// an empty store.
func printJSON(all []found) error {
	out := json.NewEncoder(demo.Stdout)
	for _, f := range all {
		if err := out.Encode(f); err != nil {
			return err
		}
	}
	return nil
}

// stamp is in local time, for who looks at it; -json has the zone.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}
