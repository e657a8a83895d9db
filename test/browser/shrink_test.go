package browser

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"slices"
)

// shrink writes a picture with 96 of its colours; the others become the nearest of them. Pages have few colours beside the edges of their letters, so
// that nobody sees it.
func shrink(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	picture, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		return err
	}
	counts := map[color.RGBA]int{}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(picture.At(x, y)).(color.RGBA) }
	area := picture.Bounds()
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			counts[at(x, y)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(counts), func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), bytes.Compare([]byte{a.R, a.G, a.B}, []byte{b.R, b.G, b.B}))
	})
	palette := choose(colours, 96)
	nearest := map[color.RGBA]uint8{}
	for c := range counts {
		nearest[c] = uint8(palette.Index(c))
	}
	out := image.NewPaletted(area, palette)
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			out.SetColorIndex(x, y, nearest[at(x, y)])
		}
	}
	var small bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&small, out); err != nil {
		return err
	}
	return os.WriteFile(to, small.Bytes(), 0o644)
}

// choose returns n of the colours, which begin with the most frequent one: first those that are like no other, however rare they are, then the
// most frequent of the rest.
func choose(colours []color.RGBA, n int) (chosen color.Palette) {
	taken := map[color.RGBA]bool{}
	for _, apart := range []int{32 * 32 * 3, 1} {
		for _, c := range colours {
			if len(chosen) < n && !taken[c] && distance(c, chosen) >= apart {
				chosen, taken[c] = append(chosen, c), true
			}
		}
	}
	return chosen
}

// distance is the square of that to the nearest one.
func distance(c color.RGBA, chosen color.Palette) int {
	least := 1 << 30
	for _, other := range chosen {
		o := other.(color.RGBA)
		r, g, b := int(c.R)-int(o.R), int(c.G)-int(o.G), int(c.B)-int(o.B)
		least = min(least, r*r+g*g+b*b)
	}
	return least
}
