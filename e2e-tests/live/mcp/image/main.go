// Writes an image of a few files, as an OCI archive that `ctr images import` reads:
//
//	image NAME ARCHIVE ENTRYPOINT FILE...
//
// The files keep their paths, but for the first: it becomes ENTRYPOINT. A program with libraries comes with these as further files.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
)

// user owns nothing in the image: neither ToolHive's programs nor those of the tests need to run as root.
const user = "65532:65532"

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// archive is a tar file in memory.
type archive struct {
	buffer bytes.Buffer
	writer *tar.Writer
}

func newArchive() *archive {
	a := &archive{}
	a.writer = tar.NewWriter(&a.buffer)
	return a
}

func (a *archive) add(name string, mode fs.FileMode, content []byte) error {
	header := tar.Header{Name: strings.TrimPrefix(name, "/"), Mode: int64(mode), Size: int64(len(content)), Typeflag: tar.TypeReg}
	if err := a.writer.WriteHeader(&header); err != nil {
		return err
	}
	_, err := a.writer.Write(content)
	return err
}

func (a *archive) addFolder(name string, mode fs.FileMode) error {
	return a.writer.WriteHeader(&tar.Header{Name: name, Mode: int64(mode), Typeflag: tar.TypeDir})
}

// blob adds content under its digest.
func (a *archive) blob(mediaType string, content []byte) (descriptor, error) {
	digest := fmt.Sprintf("%x", sha256.Sum256(content))
	err := a.add("blobs/sha256/"+digest, 0o644, content)
	return descriptor{MediaType: "application/vnd.oci.image." + mediaType, Digest: "sha256:" + digest, Size: len(content)}, err
}

func (a *archive) blobOf(mediaType string, value any) (descriptor, error) {
	content, err := json.Marshal(value)
	if err != nil {
		return descriptor{}, err
	}
	return a.blob(mediaType, content)
}

func (a *archive) bytes() ([]byte, error) {
	err := a.writer.Close()
	return a.buffer.Bytes(), err
}

// layer holds the files, and what programs expect to find: a folder for temporary files, a home, and the name of the user.
func layer(entrypoint string, files []string) ([]byte, error) {
	a := newArchive()
	for name, mode := range map[string]fs.FileMode{"tmp/": 0o1777, "etc/": 0o755, "home/": 0o777} {
		if err := a.addFolder(name, mode); err != nil {
			return nil, err
		}
	}
	passwd := "root:x:0:0::/:/\nuser:x:" + user + "::/home:/\n"
	if err := a.add("etc/passwd", 0o644, []byte(passwd)); err != nil {
		return nil, err
	}
	for i, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		name := file
		if i == 0 {
			name = entrypoint
		}
		if err := a.add(name, 0o755, content); err != nil {
			return nil, err
		}
	}
	return a.bytes()
}

// image returns the archive of an image with one layer.
func image(name, entrypoint string, files []string) ([]byte, error) {
	content, err := layer(entrypoint, files)
	if err != nil {
		return nil, err
	}
	a := newArchive()
	layer, err := a.blob("layer.v1.tar", content)
	if err != nil {
		return nil, err
	}
	config, err := a.blobOf("config.v1+json", map[string]any{
		"os": "linux", "architecture": runtime.GOARCH,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{layer.Digest}},
		"config": map[string]any{"Entrypoint": []string{entrypoint}, "User": user, "WorkingDir": "/home", "Env": []string{"HOME=/home", "PATH=/"}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := a.blobOf("manifest.v1+json", map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": []descriptor{layer},
	})
	if err != nil {
		return nil, err
	}
	// containerd names the image so.
	manifest.Annotations = map[string]string{"io.containerd.image.name": name}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []descriptor{manifest}})
	if err != nil {
		return nil, err
	}
	if err := a.add("index.json", 0o644, index); err != nil {
		return nil, err
	}
	if err := a.add("oci-layout", 0o644, []byte(`{"imageLayoutVersion": "1.0.0"}`)); err != nil {
		return nil, err
	}
	return a.bytes()
}

func main() {
	if len(os.Args) < 5 {
		fmt.Fprintln(os.Stderr, "usage: image NAME ARCHIVE ENTRYPOINT FILE...")
		os.Exit(2)
	}
	content, err := image(os.Args[1], os.Args[3], os.Args[4:])
	if err == nil {
		err = os.WriteFile(os.Args[2], content, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}
