package ticket

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every other test of this package compares Inspect with the encoding or with
// the fields; this one holds that Inspect did read the fields, or the rest
// would pass without them.
func TestFieldsOfThisReleaseAreTrusted(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := newSession(t, version)
		_, err := Inspect(s.ticket, s.state)
		require.NoError(t, err)
		require.NotNil(t, fields.Load(), whatToDo)
		allocs := testing.AllocsPerRun(100, func() { Inspect(s.ticket, s.state) })
		require.LessOrEqual(t, allocs, 1.0, "the ID; an encoding is more")
	}
}

func TestFieldsThatAreNotThereAreNotRead(t *testing.T) {
	known := reflect.TypeFor[tls.SessionState]()
	require.NotNil(t, mapFields(known))
	for n := range known.NumField() {
		f := known.Field(n)
		if f.IsExported() || f.Name == "ageAdd" || f.Name == "ticket" || f.Name == "curveID" {
			continue // not read
		}
		for why, change := range map[string]func(*reflect.StructField){
			"renamed":         func(f *reflect.StructField) { f.Name = "renamed" },
			"of another type": func(f *reflect.StructField) { f.Type = reflect.TypeFor[int32]() },
		} {
			require.Nil(t, mapFields(structWith(known, n, change)), "%s %s", f.Name, why)
		}
	}
}

// structWith is the type with one field changed.
func structWith(known reflect.Type, changed int, change func(*reflect.StructField)) reflect.Type {
	var all []reflect.StructField
	for n := range known.NumField() {
		f := known.Field(n)
		if n == changed {
			change(&f)
		}
		if !f.IsExported() {
			f.PkgPath = "crypto/tls"
		}
		f.Index, f.Offset = nil, 0
		all = append(all, f)
	}
	return reflect.StructOf(all)
}

// A release that gave a field another meaning would keep its name and type.
func TestFieldsThatContradictTheEncodingAreNotReadAgain(t *testing.T) {
	trusted := fields.Load()
	defer fields.Store(trusted)
	s := newSession(t, tls.VersionTLS13)
	want, err := inspectEncoded(Info{ID: id(s.ticket), Size: len(s.ticket)}, s.state)
	require.NoError(t, err)
	for why, change := range map[string]func(*fieldMap){
		"a time":   func(m *fieldMap) { m.created, m.useBy = m.useBy, m.created },
		"a number": func(m *fieldMap) { m.version, m.cipherSuite = m.cipherSuite, m.version },
		"a length": func(m *fieldMap) { m.staple = m.secret },
	} {
		wrong := *trusted
		change(&wrong)
		fields.Store(&wrong)
		for n := range proven {
			proven[n].Store(false)
		}
		for range 2 {
			got, err := Inspect(s.ticket, s.state)
			require.NoError(t, err, why)
			sameInfo(t, got, want)
			require.Nil(t, fields.Load(), why)
		}
	}
}

// The memo has one place for both, and what it holds says nothing of the other.
func TestLeafEndsAreToldApart(t *testing.T) {
	der := newIdentity(t, ecdsaKey(), 1).chain[0]
	end, err := notAfter(der)
	require.NoError(t, err)
	later := end.AddDate(1, 0, 0)
	const form = "20060102150405Z" // from 2050 on
	other := bytes.Replace(der, []byte(end.UTC().Format(form)), []byte(later.UTC().Format(form)), 1)
	require.NotEqual(t, der, other)
	var memo endMemo
	for range 2 {
		for range 2 {
			got, err := memo.notAfter(der, 1)
			require.NoError(t, err)
			require.True(t, got.Equal(end))
		}
		for range 2 {
			got, err := memo.notAfter(other, 2)
			require.NoError(t, err)
			require.True(t, got.Equal(later))
		}
	}
	_, err = memo.notAfter(der[:0], 1)
	require.Error(t, err)
	_, err = memo.notAfter(der[:40], 1)
	require.Error(t, err)
}

// Times is for what is ordinary, and is what Inspect says.
func TestTimesAreThoseOfInspect(t *testing.T) {
	s := newSession(t, tls.VersionTLS13)
	want, err := Inspect(s.ticket, s.state) // which proves the shape
	require.NoError(t, err)
	received, expires, ok := Times(s.state)
	require.True(t, ok)
	require.Equal(t, want.Received, received)
	require.Equal(t, want.Expires, expires)

	early, extended := *s.state, *s.state
	early.EarlyData = true
	extended.Extra = [][]byte{[]byte("somebody's")}
	for why, state := range map[string]*tls.SessionState{
		"none": nil, "early data": &early, "entries of other layers": &extended,
	} {
		_, _, ok := Times(state)
		require.False(t, ok, why)
	}
	proven[isClient].Store(false)
	_, _, ok = Times(s.state)
	require.False(t, ok, "not before the fields were found to say what the encoding does")
	_, err = Inspect(s.ticket, s.state)
	require.NoError(t, err)
	_, _, ok = Times(s.state)
	require.True(t, ok)
}
