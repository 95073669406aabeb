package plot

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTicksReachTheMostAndAreFew(t *testing.T) {
	for _, row := range []struct {
		most float64
		want []float64
	}{
		{2.4, []float64{0, 0.5, 1, 1.5, 2, 2.5}},
		{100, []float64{0, 20, 40, 60, 80, 100}},
		{1, []float64{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1}},
		{0, []float64{0, 1}},
	} {
		require.Equal(t, row.want, Ticks(row.most), "%v", row.most)
	}
}

func TestColumnsKeepEveryGroupInOrder(t *testing.T) {
	c := Chart{Columns: 2}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		c.Groups = append(c.Groups, Group{Name: name, Bars: make([]Bar, 3)})
	}
	columns := c.columns()
	require.Len(t, columns, 2)
	require.Equal(t, c.Groups, append(columns[0], columns[1]...))
	require.Len(t, columns[0], 3)
}

func TestTextIsEscaped(t *testing.T) {
	c := Chart{Title: "a < b & c", To: 1}
	require.Contains(t, c.SVG(), "a &lt; b &amp; c")
}
