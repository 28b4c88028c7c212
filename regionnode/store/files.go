package store

import (
	"os"
	"path/filepath"
	"strings"
)

// Files says what a store's directory has.
type Files struct {
	Tables  FileCount `json:"tables"`   // sorted tables
	Blobs   FileCount `json:"blobs"`    // values that are kept apart
	WALs    FileCount `json:"walFiles"` // what was written last
	Others  FileCount `json:"others"`   // the engine's own, without keys but the bounds of tables
	Unknown []string  `json:"unknown"`  // names of files that are none of the engine's, up to a hundred
	// Obsolete are files that the engine does not read any more and has yet to erase. What was erased from the store may be in them, and in others that were not rewritten since.
	Obsolete FileCount `json:"obsolete"`
}

// FileCount is a number of files and their bytes.
type FileCount struct {
	Files int64  `json:"files"`
	Bytes uint64 `json:"bytes"`
}

func (c *FileCount) add(size int64) {
	c.Files++
	c.Bytes += uint64(size)
}

const maxUnknown = 100

// Files counts the files of the store's directory.
func (p *Pebble) Files() (Files, error) {
	f := Files{Unknown: []string{}}
	err := filepath.WalkDir(p.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreGone(err)
		}
		info, err := d.Info()
		if err != nil {
			return ignoreGone(err)
		}
		name := d.Name()
		switch {
		case strings.HasSuffix(name, ".sst"):
			f.Tables.add(info.Size())
		case strings.HasSuffix(name, ".blob"):
			f.Blobs.add(info.Size())
		case strings.HasSuffix(name, ".log"):
			f.WALs.add(info.Size())
		case name == "LOCK", strings.HasPrefix(name, "MANIFEST-"), strings.HasPrefix(name, "OPTIONS-"), strings.HasPrefix(name, "marker."):
			f.Others.add(info.Size())
		case len(f.Unknown) < maxUnknown:
			f.Unknown = append(f.Unknown, name)
		}
		return nil
	})
	if err != nil {
		return f, err
	}
	m := p.db.Metrics()
	f.Obsolete.Files = m.WAL.ObsoleteFiles + m.Table.ObsoleteCount + m.Table.ZombieCount + int64(m.BlobFiles.ObsoleteCount+m.BlobFiles.ZombieCount)
	f.Obsolete.Bytes = m.WAL.ObsoletePhysicalSize + m.Table.ObsoleteSize + m.Table.ZombieSize + m.BlobFiles.ObsoleteSize + m.BlobFiles.ZombieSize
	return f, nil
}

// ignoreGone is nil for a file that the engine has erased meanwhile.
func ignoreGone(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}
