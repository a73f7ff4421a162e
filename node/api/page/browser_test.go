package page_test

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

var screenshots = flag.String("screenshots", "", "directory in which to write pictures of the page; docs/ has page.png, page-dark.png and page-phone.png of them")

// theBrowser is one for all tests.
var theBrowser struct {
	start sync.Once
	ctx   context.Context
	stop  func()
	err   error
}

func startBrowser() {
	b := &theBrowser
	var program string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if program, b.err = exec.LookPath(name); b.err == nil {
			break
		}
	}
	if b.err != nil {
		return
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-quic", true), chromedp.Flag("force-color-profile", "srgb"))
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, stop := chromedp.NewContext(allocator)
	b.ctx = ctx
	b.stop = func() {
		_ = chromedp.Cancel(ctx) // which waits for its end
		stop()
		stopAllocator()
	}
	b.err = chromedp.Do(ctx)
}

func closeBrowser() {
	if theBrowser.stop != nil {
		theBrowser.stop()
	}
}

// tab is one of the browser.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	troubles []string // what the browser complains of
	asked    []string // of whom it asked anything
}

// openTab opens a tab of a width; it fails where there is no browser and CI wants one.
func openTab(t *testing.T, width, height int64, media ...*emulation.MediaFeature) *tab {
	t.Helper()
	theBrowser.start.Do(startBrowser)
	if err := theBrowser.err; err != nil && (os.Getenv("CI") != "true" || os.Getenv("WITHOUT_CHROMIUM") != "") {
		t.Skip("this test wants Chromium (Debian's package chromium): ", err)
	} else {
		require.NoError(t, err)
	}
	ctx, cancel := chromedp.NewContext(theBrowser.ctx)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx))
	within, late := context.WithTimeout(ctx, 2*patience)
	t.Cleanup(late)
	b := &tab{t: t, ctx: within}
	require.NoError(t, chromedp.Listen(ctx, b.hear))
	send(b, network.Enable, network.EnableParams{})
	send(b, log.Enable, cdp.Empty{})
	send(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: media})
	b.run(chromedp.EmulateViewport(width, height))
	return b
}

// hear notes what the browser tells.
func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.troubles = append(b.troubles, e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		b.troubles = append(b.troubles, e.Entry.Text+" "+e.Entry.URL)
	case *page.EventJavascriptDialogOpening:
		b.troubles = append(b.troubles, "a dialog: "+e.Message)
	case *network.EventRequestWillBeSent:
		b.asked = append(b.asked, e.Request.URL)
	}
}

func (b *tab) run(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	require.NoError(b.t, chromedp.Do(b.ctx, steps...))
}

// value returns what an action does.
func value[T any](b *tab, a chromedp.Action[T]) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, a)
	require.NoError(b.t, err)
	return v
}

// send sends a command of the protocol.
func send[P, R any](b *tab, c cdp.Command[P, R], params P) R {
	b.t.Helper()
	r, err := chromedp.Call(b.ctx, c, params)
	require.NoError(b.t, err)
	return r
}

func (b *tab) open(url string) { b.t.Helper(); b.run(chromedp.Navigate(url)) }

// eval returns what an expression is.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	return value(b, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// await waits until an expression is true.
func (b *tab) await(expression string) {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		is, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression))
		return err == nil && is
	}, patience, 20*time.Millisecond, expression)
}

// requireFit is what holds of the page in any state: nothing is wider than the window, a text
// can be told from its ground, nothing was asked of anybody else, and the browser complains
// of nothing.
func (b *tab) requireFit(url string) {
	b.t.Helper()
	wide := eval[string](b, `document.documentElement.scrollWidth <= innerWidth ? '' : [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth && !e.closest('.scroll')).map((e) => e.tagName + '.' + e.className + '#' + e.id).slice(0, 5).join(' ')`)
	require.Empty(b.t, wide, "wider than the window")
	require.Empty(b.t, eval[[]string](b, faint), "texts of too little contrast")
	require.NotEqual(b.t, "owned", eval[string](b, "document.title"))
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Empty(b.t, b.troubles)
	for _, at := range b.asked {
		require.True(b.t, strings.HasPrefix(at, url+"/"), "asked of %s", at)
	}
}

// faint lists the texts whose contrast is less than 4.5, as WCAG 2 counts it.
const faint = `(() => {
  const parse = (c) => (c.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number)
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0)
  const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c } return [255, 255, 255] }
  const bad = new Set()
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  for (let n = walk.nextNode(); n; n = walk.nextNode()) {
    const e = n.parentElement
    if (!n.data.trim() || !e.checkVisibility() || e.closest('.visually-hidden, title')) continue
    const style = getComputedStyle(e)
    const [a, b] = [light(parse(e instanceof SVGElement ? style.fill : style.color)), light(ground(e))]
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
    if (contrast < 4.5) bad.add(e.tagName + '.' + e.getAttribute('class') + ' "' + n.data.trim().slice(0, 20) + '" ' + contrast.toFixed(1))
  }
  return [...bad]
})()`

// picture keeps a picture of the window, where that is wanted.
func (b *tab) picture(name string) {
	b.t.Helper()
	if *screenshots == "" {
		return
	}
	shot, err := png.Decode(bytes.NewReader(value(b, chromedp.CaptureScreenshot())))
	require.NoError(b.t, err)
	f, err := os.Create(filepath.Join(*screenshots, name))
	require.NoError(b.t, err)
	defer f.Close()
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	require.NoError(b.t, encoder.Encode(f, inFewColours(shot)))
	require.NoError(b.t, f.Close())
}

// inFewColours is a picture in the 256 colours that it has most, which is a smaller file.
func inFewColours(from image.Image) *image.Paletted {
	times := make(map[color.Color]int)
	at := from.Bounds()
	for y := at.Min.Y; y < at.Max.Y; y++ {
		for x := at.Min.X; x < at.Max.X; x++ {
			times[from.At(x, y)]++
		}
	}
	most := slices.SortedFunc(maps.Keys(times), func(a, b color.Color) int { return cmp.Compare(times[b], times[a]) })
	to := image.NewPaletted(at, most[:min(len(most), 256)])
	draw.Draw(to, at, from, at.Min, draw.Src)
	return to
}

var (
	dark  = &emulation.MediaFeature{Name: "prefers-color-scheme", Value: "dark"}
	light = &emulation.MediaFeature{Name: "prefers-color-scheme", Value: "light"}
	still = &emulation.MediaFeature{Name: "prefers-reduced-motion", Value: "reduce"}
)

// The page fits, whatever the node tells, on a desk and on a phone, by day and by night.
func TestLayout(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name          string
		node          *fakeNode
		width, height int64
		scheme        *emulation.MediaFeature
	}{
		{"page-empty", emptyNode(), 1100, 900, light},
		{"page", busyNode(60), 1100, 1680, light},
		{"page-night", busyNode(60), 1100, 900, dark},
		{"page-phone", busyNode(60), 360, 780, light},
		{"page-hostile", hostileNode(t), 1100, 900, light},
		{"page-hostile-phone", hostileNode(t), 320, 640, dark},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, test.node)
			b := openTab(t, test.width, test.height, test.scheme, still)
			b.open(s.URL() + "/")
			b.requireFit(s.URL())
			b.picture(test.name + ".png")
		})
	}
}

// A lookup is drawn as it runs, told in words, and found by the keyboard alone.
func TestLookupIsDrawn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		node   *fakeNode
		width  int64
		scheme *emulation.MediaFeature
	}{{"page-dark", busyNode(20), 1100, dark}, {"page-lookup-phone", busyNode(20), 360, light}, {"page-lookup-hostile", hostileNode(t), 1100, light}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, test.node)
			b := openTab(t, test.width, 800, test.scheme, still)
			b.open(s.URL() + "/")
			b.run(chromedp.Focus("#lookup-key"), chromedp.KeyEvent("greeter\t"), chromedp.KeyEvent("\t"), chromedp.KeyEvent("\r"))
			b.await(`document.getElementById('lookup-said').textContent.startsWith('Found: 1 value at 2 holders; 13 answered of 14 asked')`)
			require.Equal(t, 14, eval[int](b, `document.querySelectorAll('#lookup-picture circle').length`))
			require.Equal(t, 14, eval[int](b, `document.querySelectorAll('#lookup-hops tbody tr').length`))
			require.Equal(t, 1, eval[int](b, `document.querySelectorAll('#lookup-values li').length`))
			require.Empty(t, eval[string](b, "location.search"), "and the page is the same")
			b.requireFit(s.URL())
			b.run(chromedp.ScrollIntoView("#lookup"))
			b.picture(test.name + ".png")
		})
	}
}

// Of lookups that are asked for together the last runs alone, and none goes on behind the page.
func TestLookupsAtOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, busyNode(20))
	b := openTab(t, 800, 600, light)
	b.open(s.URL() + "/")
	b.run(chromedp.Evaluate[chromedp.Void](`{
  window.streams = []
  const Stream = EventSource
  window.EventSource = class extends Stream { constructor (url) { super(url); streams.push(this) } }
  lookUp('greeter', byId('lookup-as').value)
  lookUp('greeter', byId('lookup-as').value)
}`))
	b.await(`document.getElementById('lookup-said').textContent.startsWith('Found: 1 value')`)
	require.Equal(t, []int{2}, eval[[]int](b, `streams.map((s) => s.readyState)`), "one, and it is closed")
}

// A key that is none is said to be one.
func TestLookupOfNoKey(t *testing.T) {
	t.Parallel()
	s := serve(t, emptyNode())
	b := openTab(t, 800, 600, light)
	b.open(s.URL() + "/")
	b.run(chromedp.SendKeys("#lookup-key", "0xzz\r"))
	b.await(`document.getElementById('lookup-said').textContent.includes('pairs of hexadecimal digits')`)
}

// What changes is shown without a reload; what the reader has open, or has the focus on,
// stays; and when the node is gone the page says so, and since when.
func TestRefreshes(t *testing.T) {
	t.Parallel()
	n := &changingNode{fakeNode: busyNode(20)}
	s := serveNode(t, n, n)
	b := openTab(t, 1200, 800, light, still)
	b.open(s.URL() + "/")
	b.run(chromedp.Click("#buckets summary"), chromedp.Focus("#peers .copy"))
	focused := eval[string](b, "document.activeElement.dataset.copy")
	require.NotEmpty(t, focused)
	n.set(func(f *fakeNode) { f.status.Problems, f.status.Records.Records = []string{"the disk is full"}, 1841 })
	b.run(chromedp.Evaluate[chromedp.Void]("refresh()"))
	b.await(`document.getElementById('records').textContent.includes('1,841 records')`)
	b.await(`document.getElementById('well').textContent.includes('the disk is full')`)
	require.Equal(t, "The node is not well any more.", eval[string](b, "document.getElementById('announced').textContent"))
	require.True(t, eval[bool](b, "document.getElementById('buckets').open"))
	require.Equal(t, focused, eval[string](b, "document.activeElement.dataset.copy"))
	require.False(t, eval[bool](b, "document.activeElement.hidden"))
	b.requireFit(s.URL())

	b.run(chromedp.Click("#pause"))
	n.set(func(f *fakeNode) { f.status.Records.Records = 1842 })
	require.Equal(t, "true", eval[string](b, "refresh().then(() => document.getElementById('pause').getAttribute('aria-pressed'))"))
	require.False(t, eval[bool](b, `document.getElementById('records').textContent.includes('1,842 records')`), "paused")
	b.run(chromedp.Click("#pause"))
	b.await(`document.getElementById('records').textContent.includes('1,842 records')`)

	n.set(func(f *fakeNode) { f.status.Problems = nil })
	require.NoError(t, s.Close())
	b.run(chromedp.Evaluate[chromedp.Void]("refresh()"))
	b.await(`!document.getElementById('lost').hidden`)
	require.Contains(t, eval[string](b, "document.getElementById('lost').textContent"), "The node does not answer, since ")
	require.Empty(t, eval[[]string](b, strings.ReplaceAll(faint, "e.closest('.visually-hidden", "!e.closest('header') || e.closest('.visually-hidden")))
	b.picture("page-stopped.png")
}

// changingNode is one that changes while it is asked.
type changingNode struct {
	mu sync.Mutex
	*fakeNode
}

func (n *changingNode) set(change func(*fakeNode)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	next := *n.fakeNode
	change(&next)
	n.fakeNode = &next
}

// A keyboard finds its way: first to the content, and to all else that can be used; each of
// these has a name.
func TestKeyboardAndScreenReader(t *testing.T) {
	t.Parallel()
	s := serve(t, busyNode(5))
	b := openTab(t, 1200, 800, light, still)
	b.open(s.URL() + "/")
	b.run(chromedp.KeyEvent("\t"))
	require.Equal(t, "To the content", eval[string](b, "document.activeElement.textContent"))
	require.True(t, eval[bool](b, "document.activeElement.getBoundingClientRect().left >= 0"), "and can be seen")
	names := namesOf(t, b)
	for _, want := range []string{"banner", "main", "contentinfo", "search", "navigation Sections", "region This node", "region Peers", "region Key space", "region Health", "textbox Key or name", "combobox It is", "button Look up", "button Pause", "button Copy " + peerID, "meter How full the store is", "heading Status of this node", "columnheader Latency"} {
		require.Contains(t, names, want)
	}
	for _, name := range names {
		role, _, named := strings.Cut(name, " ")
		require.True(t, named || !strings.Contains(" button link textbox combobox region meter image checkbox ", " "+role+" "), "a %s without a name", role)
	}
}

// Without JavaScript a form has the node look up, and the rest is there.
func TestWithoutJavaScript(t *testing.T) {
	t.Parallel()
	s := serve(t, busyNode(20))
	b := openTab(t, 1200, 800, light)
	send(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.open(s.URL() + "/")
	require.True(t, value(b, chromedp.AttributeValue("#pause", "hidden")).Exists)
	b.run(chromedp.SendKeys("#lookup-key", "greeter\r"), chromedp.WaitVisible("#lookup-values li"))
	require.Equal(t, "Found: 1 value at 2 holders; 13 nodes answered of 14 nodes asked.", strings.TrimSpace(value(b, chromedp.Text("#lookup-said"))))
	send(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{})
	b.requireFit(s.URL())
}

// Ids are copied by their buttons.
func TestCopies(t *testing.T) {
	t.Parallel()
	s := serve(t, busyNode(3))
	b := openTab(t, 1200, 800, light)
	b.open(s.URL() + "/")
	b.run(chromedp.Evaluate[chromedp.Void](`navigator.clipboard.writeText = async (text) => { window.copied = text }`), chromedp.Click("#node .copy"))
	b.await(`window.copied === ` + fmt.Sprintf("%q", peerID))
	b.await(`document.getElementById('announced').textContent === 'Copied.'`)
}
