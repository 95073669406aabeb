// Package plot draws bars as SVG, for light and for dark pages.
package plot

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// A Chart is groups of horizontal bars on one scale.
type Chart struct {
	Title, Subtitle string
	Legend          []Key
	Groups          []Group
	Columns         int // that the groups are laid out in; 0: one
	From, To        float64
	Ticks           []float64
	Tick            string // format of a tick, such as "%.0f %%"
	Mark            float64
	MarkName        string // what is at Mark; empty: nothing is
}

// A Group is bars under a heading.
type Group struct {
	Name string
	Bars []Bar
}

// A Bar is one line: parts from left to right, and what is written behind.
type Bar struct {
	Label string
	Parts []Part
	Text  string
}

// A Part is as long as its value.
type Part struct {
	Value  float64
	Colour Colour
}

// A Key explains a colour.
type Key struct {
	Name   string
	Colour Colour
}

// A Colour has a shade for light and one for dark pages.
type Colour int

// The colours are told apart by those who do not see red and green, too.
const (
	Blue Colour = iota
	Orange
	Grey
)

// Measures in pixels.
const (
	margin     = 20
	labelWidth = 128
	textWidth  = 76
	plotWidth  = 250
	gutter     = 24
	barHeight  = 11
	barStep    = 16
	headStep   = 22
	groupGap   = 12
	colWidth   = labelWidth + plotWidth + textWidth
	axisHeight = 22
)

const style = `<style>
text { font: 11px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328;
paint-order: stroke; stroke: #ffffff; stroke-width: 3px }
.title { font-size: 15px; font-weight: 600 } .head { font-weight: 600 } .dim { fill: #59636e }
.page { fill: #ffffff } .grid { stroke: #d1d9e0 } .mark { stroke: #1f2328; stroke-dasharray: 3 2 }
.c0 { fill: #2f6fd0 } .c1 { fill: #d9730d } .c2 { fill: #8c959f }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; stroke: #0d1117 } .dim { fill: #9198a1 } .page { fill: #0d1117 } .grid { stroke: #3d444d }
.mark { stroke: #e6edf3 } .c0 { fill: #4f8ff0 } .c1 { fill: #f0883e } .c2 { fill: #7d8590 }
}
</style>
`

// SVG draws the chart.
func (c *Chart) SVG() string {
	columns := c.columns()
	top := margin + 18
	if c.Subtitle != "" {
		top += 18
	}
	if len(c.Legend) > 0 {
		top += 20
	}
	top += 8
	height := 0
	for _, column := range columns {
		height = max(height, columnHeight(column))
	}
	page := page{chart: c}
	width := 2*margin + len(columns)*colWidth + (len(columns)-1)*gutter
	total := top + height + axisHeight + margin
	page.printf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="%s">`+"\n",
		width, total, width, total, html.EscapeString(c.Title))
	page.printf("%s", style)
	page.printf(`<rect class="page" width="%d" height="%d" rx="6"/>`+"\n", width, total)
	page.heading()
	for i, column := range columns {
		page.column(column, margin+i*(colWidth+gutter), top)
	}
	page.printf("</svg>\n")
	return page.b.String()
}

// columns lays the groups out so that the columns are about equally high.
func (c *Chart) columns() [][]Group {
	if c.Columns <= 1 {
		return [][]Group{c.Groups}
	}
	each := float64(columnHeight(c.Groups)) / float64(c.Columns)
	columns := make([][]Group, 1, c.Columns)
	for _, g := range c.Groups {
		last := len(columns) - 1
		half := float64(columnHeight([]Group{g})) / 2
		if len(columns) < c.Columns && len(columns[last]) > 0 && float64(columnHeight(columns[last]))+half > each {
			columns, last = append(columns, nil), last+1
		}
		columns[last] = append(columns[last], g)
	}
	return columns
}

func columnHeight(groups []Group) (height int) {
	for _, g := range groups {
		height += headStep + len(g.Bars)*barStep + groupGap
	}
	return height
}

// A page is an SVG that is being written.
type page struct {
	chart *Chart
	b     strings.Builder
}

func (p *page) printf(format string, args ...any) { fmt.Fprintf(&p.b, format, args...) }

func (p *page) text(x, y int, class, anchor, s string) {
	p.printf(`<text x="%d" y="%d" class="%s" text-anchor="%s">%s</text>`+"\n", x, y, class, anchor, html.EscapeString(s))
}

func (p *page) heading() {
	y := margin + 12
	p.text(margin, y, "title", "start", p.chart.Title)
	if p.chart.Subtitle != "" {
		y += 20
		p.text(margin, y, "dim", "start", p.chart.Subtitle)
	}
	y += 12
	x := margin
	for _, key := range p.chart.Legend {
		p.printf(`<rect class="c%d" x="%d" y="%d" width="11" height="11" rx="2"/>`+"\n", key.Colour, x, y)
		p.text(x+16, y+10, "", "start", key.Name)
		x += 16 + 7*len(key.Name) + 16
	}
}

func (p *page) column(groups []Group, x, top int) {
	c, bottom := p.chart, top+columnHeight(groups)-groupGap+2
	for _, tick := range c.Ticks {
		at := x + labelWidth + p.scale(tick)
		p.printf(`<line class="grid" x1="%d" y1="%d" x2="%d" y2="%d"/>`+"\n", at, top+headStep-6, at, bottom)
		p.text(at, bottom+14, "dim", "middle", fmt.Sprintf(c.Tick, tick))
	}
	p.bars(groups, x, top, p.bar)
	if c.MarkName != "" {
		at := x + labelWidth + p.scale(c.Mark)
		p.printf(`<line class="mark" x1="%d" y1="%d" x2="%d" y2="%d"/>`+"\n", at, top+headStep-6, at, bottom)
		p.text(at, top+headStep-9, "dim", "middle", c.MarkName)
	}
	p.bars(groups, x, top, p.words) // on top of everything
	y := top
	for _, g := range groups {
		p.text(x, y+14, "head", "start", g.Name)
		y += columnHeight([]Group{g})
	}
}

// bars draws something for each bar.
func (p *page) bars(groups []Group, x, y int, draw func(bar Bar, x, y int)) {
	for _, g := range groups {
		y += headStep
		for _, bar := range g.Bars {
			draw(bar, x, y)
			y += barStep
		}
		y += groupGap
	}
}

func (p *page) bar(bar Bar, x, y int) {
	from, sum := p.scale(p.chart.From), p.chart.From
	for _, part := range bar.Parts {
		sum += part.Value
		to := p.scale(sum)
		p.printf(`<rect class="c%d" x="%d" y="%d" width="%d" height="%d"/>`+"\n",
			part.Colour, x+labelWidth+from, y, max(to-from, 0), barHeight)
		from = max(from, to)
	}
}

func (p *page) words(bar Bar, x, y int) {
	sum := p.chart.From
	for _, part := range bar.Parts {
		sum += part.Value
	}
	p.text(x+labelWidth-8, y+10, "", "end", bar.Label)
	p.text(x+labelWidth+p.scale(sum)+6, y+10, "", "start", bar.Text)
}

// scale is where a value is, in pixels from the left of the plot.
func (p *page) scale(value float64) int {
	c := p.chart
	part := (value - c.From) / (c.To - c.From)
	return int(math.Round(plotWidth * min(max(part, 0), 1)))
}

// Ticks are up to about six round numbers from zero to at least most.
func Ticks(most float64) (ticks []float64) {
	if most <= 0 {
		return []float64{0, 1}
	}
	step := math.Pow(10, math.Floor(math.Log10(most/5)))
	for _, times := range []float64{1, 2, 5, 10} {
		if most/(step*times) <= 6 {
			step *= times
			break
		}
	}
	for i := 0; ; i++ {
		ticks = append(ticks, float64(i)*step)
		if float64(i)*step >= most {
			return ticks
		}
	}
}
