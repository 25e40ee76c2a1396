// Draws what clients went through as SVG: calls of each 100 ms, good and failed, over the time since somebody changed the server. One
// panel for each setting, from the last line with it in results.jsonl, which the live tests write.
//
//	plot RESULTS.JSONL SCENARIO FILE.SVG SETTING=TITLE...
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"image/color"
	"os"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// bin is the width of the bins, in seconds.
const bin = 0.1

// Figures that tell the two apart also without color: failed calls are drawn as an area, good ones as a line.
var (
	goodColor   = color.NRGBA{R: 0x1b, G: 0x6c, B: 0xa8, A: 0xff}
	failedColor = color.NRGBA{R: 0xc6, G: 0x28, B: 0x28, A: 0xff}
)

// result is a line of results.jsonl, as far as it is drawn.
type result struct {
	Name       string    `json:"name"`
	Setting    string    `json:"setting"`
	Begun      time.Time `json:"begun"`
	Acted      float64   `json:"acted"`
	Failed     int       `json:"failed"`
	Lost       int       `json:"lost"`
	StateGone  int       `json:"stateGone"`
	LongestGap float64   `json:"longestGap"`
	GoodBins   []int     `json:"goodBins"`
	FailedBins []int     `json:"failedBins"`
}

// last returns the last result of a scenario with a setting.
func last(path, name, setting string) (result, error) {
	file, err := os.Open(path)
	if err != nil {
		return result{}, err
	}
	defer file.Close()
	var found result
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var line result
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return result{}, err
		}
		if line.Name == name && line.Setting == setting {
			found = line
		}
	}
	if found.Name == "" {
		return result{}, fmt.Errorf("%s has no result of %s with the setting %s", path, name, setting)
	}
	return found, lines.Err()
}

// points are the bins over the seconds since the change.
func (r result) points(bins []int) plotter.XYs {
	began := float64(r.Begun.UnixNano())/1e9 - r.Acted
	points := make(plotter.XYs, max(len(r.GoodBins), len(r.FailedBins)))
	for i := range points {
		points[i].X = began + float64(i)*bin
		if i < len(bins) {
			points[i].Y = float64(bins[i])
		}
	}
	return points
}

func panel(r result, title string) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s: %d calls fail, %d sessions lose their state, %.1f s without an answer",
		title, r.Failed, r.Lost+r.StateGone, r.LongestGap)
	p.X.Label.Text = "seconds since the change"
	p.Y.Label.Text = "calls in 100 ms"
	p.Y.Min = 0
	p.Legend.Top = true
	good, err := plotter.NewLine(r.points(r.GoodBins))
	if err != nil {
		return nil, err
	}
	good.Color, good.StepStyle = goodColor, plotter.MidStep
	failed, err := plotter.NewLine(r.points(r.FailedBins))
	if err != nil {
		return nil, err
	}
	failed.Color, failed.StepStyle, failed.FillColor = failedColor, plotter.MidStep, failedColor
	p.Add(plotter.NewGrid(), failed, good)
	p.Legend.Add("good", good)
	p.Legend.Add("failed", failed)
	return p, nil
}

func run(path, name, output string, settings []string) error {
	var panels [][]*plot.Plot
	low, high, top := 0.0, 0.0, 0.0
	for _, setting := range settings {
		key, title, _ := strings.Cut(setting, "=")
		r, err := last(path, name, key)
		if err != nil {
			return err
		}
		p, err := panel(r, title)
		if err != nil {
			return err
		}
		low, high, top = min(low, p.X.Min), max(high, p.X.Max), max(top, p.Y.Max)
		panels = append(panels, []*plot.Plot{p})
	}
	for _, row := range panels {
		row[0].X.Min, row[0].X.Max, row[0].Y.Max = low, high, top
	}
	canvas := vgsvg.New(24*vg.Centimeter, vg.Length(len(panels))*7*vg.Centimeter)
	tiles := draw.Tiles{Rows: len(panels), Cols: 1, PadY: vg.Points(12), PadTop: vg.Points(6), PadRight: vg.Points(12)}
	for i, row := range plot.Align(panels, tiles, draw.New(canvas)) {
		panels[i][0].Draw(row[0])
	}
	file, err := os.Create(output)
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(file); err != nil {
		return err
	}
	return file.Close()
}

func main() {
	if len(os.Args) < 5 {
		fmt.Fprintln(os.Stderr, "usage: plot RESULTS.JSONL SCENARIO FILE.SVG SETTING=TITLE...")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4:]); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}
