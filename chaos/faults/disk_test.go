//go:build linux

package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/transport/http"
	"golang.org/x/sys/unix"
)

// disk is a file system of its own on a loop device.
type disk struct {
	t       testing.TB
	image   string
	dir     string // where it is mounted
	mounted bool
}

// newDisk makes and mounts an ext4 file system, and takes it away with the test. The image is sparse. Where that is not possible, the test is
// skipped.
func newDisk(t testing.TB, bytes int64) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a disk of its own needs root")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("a disk of its own needs mkfs.ext4")
	}
	dir := t.TempDir()
	d := &disk{t: t, image: filepath.Join(dir, "image"), dir: filepath.Join(dir, "mounted")}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, bytes); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", "-m", "0", d.image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.dir).CombinedOutput(); err != nil {
		t.Skipf("this machine has no loop mounts: %v: %s", err, out)
	}
	d.mounted = true
	t.Cleanup(d.unmount)
	return d
}

func (d *disk) mount() {
	d.t.Helper()
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.dir).CombinedOutput(); err != nil {
		d.t.Fatalf("mount: %v: %s", err, out)
	}
	d.mounted = true
}

// unmount waits for nobody: all processes that used the disk have ended.
func (d *disk) unmount() {
	d.t.Helper()
	if !d.mounted {
		return
	}
	if out, err := exec.Command("umount", d.dir).CombinedOutput(); err != nil {
		d.t.Errorf("umount: %v: %s", err, out)
		return
	}
	d.mounted = false
}

// The request of ext4 and XFS that ends a file system as a power cut does.
const (
	goingDown = 0x8004587d // FS_IOC_GOINGDOWN, _IOR('X', 125, __u32)
	noFlush   = 2          // what is not synced, the journal included, is lost
)

// cutPower makes the disk fail from now on, with what was synced on it and nothing else.
func (d *disk) cutPower() {
	d.t.Helper()
	f, err := os.Open(d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), goingDown, noFlush); err != nil {
		d.t.Fatalf("FS_IOC_GOINGDOWN: %v", err)
	}
}

// free returns how many bytes can be written.
func (d *disk) free() int64 {
	d.t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		d.t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

// ballast takes space until only so many bytes are free. Removing the file it names gives the space back.
func (d *disk) ballast(leave int64) (path string) {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.dir, fmt.Sprintf("ballast-%d", leave)))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	size := d.free() - leave
	if size <= 0 {
		d.t.Fatalf("%d bytes are free; cannot leave %d", d.free(), leave)
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil && (leave > 0 || !errors.Is(err, unix.ENOSPC)) {
		d.t.Fatalf("fallocate: %v", err)
	}
	return f.Name()
}

// onDisk puts the data of a node onto a disk.
func (c *cluster) onDisk(n *node, d *disk) {
	c.t.Helper()
	n.data = filepath.Join(d.dir, "data")
	c.configure(n)
}

// The power of a region's disk is cut among its writes, while no other region can be reached. What it has acknowledged is there afterwards.
func TestPowerCut(t *testing.T) {
	d := newDisk(t, 4<<30)
	c := newCluster(t)
	victim := c.nodes[0]
	c.onDisk(victim, d)
	c.launch()
	createTable(t, table, c.regions()...)
	random := newRandom(t)
	h := newHistory()
	c.cut(victim)
	l := startLoad(t, h, table, "power", c.regions()...)
	h.acknowledges(t, victim.region, 300+random.IntN(1000))
	d.cutPower()
	// A node whose disk fails ends by itself, and says why.
	if status := victim.proc.wait(); status != 1 {
		t.Errorf("the node ended with status %d when its disk failed; want 1", status)
	}
	if !strings.Contains(victim.proc.log.tail(), "the store has failed") {
		t.Errorf("the node does not say why it ended")
	}
	l.stop()
	d.unmount()
	d.mount()
	victim.launch()
	h.mustHold(t, "after the power cut, alone", scan(t, victim.region, table), victim.name)
	c.heal(victim)
	h.mustConverge(t, table, c.regions()...)
}

// A disk fills up. First writes are refused, early and with a clear error, and reads go on. When peers fill it to the last byte, the node ends. With space again
// all goes on, and nothing is lost.
func TestFullDisk(t *testing.T) {
	const limit = 512 << 20 // freeBytes of deployments/
	d := newDisk(t, 2<<30)
	c := newCluster(t)
	victim, peer := c.nodes[0], c.nodes[1]
	c.onDisk(victim, d)
	c.launch()
	createTable(t, table, c.regions()...)
	h := newHistory()
	must := func(r *region, key string) {
		t.Helper()
		if err := h.write(t, r, table, operation{key: key, id: key + " by " + r.name}); err != nil {
			t.Fatal(err)
		}
	}
	must(victim.region, "before")

	ballast := d.ballast(limit - 64<<20)
	key, refused := awaitRefusal(t, h, victim.region)
	var api smithy.APIError
	var answer *http.ResponseError
	if !errors.As(refused, &api) || !strings.Contains(api.ErrorMessage(), "disk almost full") || !errors.As(refused, &answer) || answer.HTTPStatusCode() != 503 {
		t.Errorf("refused with %v", refused)
	}
	if st, err := victim.status(); err != nil || len(st.Refused) != 1 || !strings.Contains(st.Refused[0], "disk almost full") {
		t.Errorf("status says %v, %v", st.Refused, err)
	}
	must(peer.region, "meanwhile")
	awaitItem(t, victim.region, table, "meanwhile", "meanwhile by "+peer.name) // reads and the changes of peers go on
	awaitItem(t, victim.region, table, "before", "before by "+victim.name)
	awaitItem(t, victim.region, table, key, "")
	removeAll(t, ballast)
	awaitWrites(t, h, victim.region)

	ballast = d.ballast(0)
	overfill(t, peer.region, victim)
	removeAll(t, ballast)
	victim.launch()
	awaitWrites(t, h, victim.region)
	told := quiesce(t, table, c.regions()...)
	awaitItem(t, victim.region, table, "before", "before by "+victim.name)
	t.Logf("%d items, %d bytes in all regions", told.Items, told.Bytes)
}

// awaitRefusal writes until the region refuses to, and returns the key of the write that was refused.
func awaitRefusal(t testing.TB, h *history, r *region) (key string, refused error) {
	t.Helper()
	eventually(t, "a write is refused", func() string {
		key = fmt.Sprint("to be refused/", h.now())
		if refused = h.write(t, r, table, operation{key: key, id: key}); refused == nil {
			return "it is taken"
		}
		return ""
	})
	return key, refused
}

// awaitWrites waits until writes are taken again.
func awaitWrites(t testing.TB, h *history, r *region) {
	t.Helper()
	eventually(t, "writes are taken again", func() string {
		if err := h.write(t, r, table, operation{key: "again", id: fmt.Sprint("again ", h.now())}); err != nil {
			return err.Error()
		}
		return ""
	})
}

// overfill writes large items in one region until the disk of another has no more room for them, and the node there ends.
func overfill(t testing.TB, r *region, victim *node) {
	t.Helper()
	name := table
	for i := range 2000 {
		item := keyOf(fmt.Sprintf("large/%d", i))
		item["filling"] = text(strings.Repeat("y", 300<<10))
		if _, err := r.api.PutItem(t.Context(), &sdk.PutItemInput{TableName: &name, Item: item}); err != nil {
			t.Fatal(err)
		}
		if !victim.proc.running() {
			if status := victim.proc.wait(); status != 1 || !strings.Contains(victim.proc.log.tail(), "the store has failed") {
				t.Errorf("on a full disk the node ended with status %d", status)
			}
			return
		}
	}
	eventually(t, "a node on a full disk ends", func() string {
		if victim.proc.running() {
			return "it runs"
		}
		return ""
	})
}
