// Go through wazero, which needs no cgo:  go run . CORE.wasm SCENARIO.txt FOLDER
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

type player struct {
	ctx    context.Context
	core   api.Module
	folder string
	names  map[string]uint32
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: run CORE.wasm SCENARIO.txt FOLDER")
		os.Exit(2)
	}
	steps, err := run(os.Args[1], os.Args[2], os.Args[3])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%d steps equal\n", steps)
}

func run(wasm, scenario, folder string) (int, error) {
	ctx := context.Background()
	code, err := os.ReadFile(wasm)
	if err != nil {
		return 0, err
	}
	runtime := wazero.NewRuntime(ctx)
	defer runtime.Close(ctx)
	core, err := runtime.Instantiate(ctx, code)
	if err != nil {
		return 0, err
	}
	file, err := os.Open(scenario)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	p := &player{ctx, core, folder, map[string]uint32{}}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	steps := 0
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := p.step(strings.Split(line, " ")); err != nil {
			return steps, fmt.Errorf("line %d: %s: %w", number, line, err)
		}
		steps++
	}
	return steps, lines.Err()
}

func (p *player) step(words []string) error {
	switch words[0] {
	case "get":
		result, err := p.call(words[2], nil)
		p.names[words[1]] = uint32(int64(result))
		return err
	case "load":
		value, ok := p.core.Memory().ReadUint32Le(p.address(words[2]))
		p.names[words[1]] = value
		return inside(ok)
	case "write":
		data, err := hex.DecodeString(words[2])
		if err != nil {
			return err
		}
		return inside(p.core.Memory().Write(p.address(words[1]), data))
	case "read":
		data, err := hex.DecodeString(words[2])
		if err != nil {
			return err
		}
		found, ok := p.core.Memory().Read(p.address(words[1]), uint32(len(data)))
		if ok && !bytes.Equal(found, data) {
			return fmt.Errorf("got %x", found)
		}
		return inside(ok)
	case "call":
		return p.expect(words[1:])
	case "keep":
		length, err := strconv.Atoi(words[3])
		if err != nil {
			return err
		}
		data, ok := p.core.Memory().Read(p.address(words[2]), uint32(length))
		if !ok {
			return inside(ok)
		}
		return os.WriteFile(filepath.Join(p.folder, words[1]), data, 0o644)
	case "give":
		data, err := os.ReadFile(filepath.Join(p.folder, words[1]))
		if err != nil {
			return err
		}
		return inside(p.core.Memory().Write(p.address(words[2]), data))
	}
	return errors.New("no such step")
}

// expect plays EXPORT ARG... = RESULT.
func (p *player) expect(words []string) error {
	end := len(words) - 2
	args := make([]float64, 0, end)
	for _, word := range words[1:end] {
		if strings.HasPrefix(word, "p:") {
			args = append(args, float64(p.address(word[2:])))
			continue
		}
		value, err := strconv.ParseFloat(word[2:], 64)
		if err != nil {
			return err
		}
		args = append(args, value)
	}
	result, err := p.call(words[0], args)
	if err != nil {
		return err
	}
	expected, err := strconv.ParseFloat(words[end+1], 64)
	if err == nil && result != expected {
		return fmt.Errorf("got %v", result)
	}
	return err
}

func (p *player) call(name string, args []float64) (float64, error) {
	function := p.core.ExportedFunction(name)
	if function == nil {
		return 0, fmt.Errorf("no export %s", name)
	}
	kinds := function.Definition().ParamTypes()
	words := make([]uint64, len(args))
	for at, arg := range args {
		words[at] = uint64(uint32(int64(arg)))
		if kinds[at] == api.ValueTypeF64 {
			words[at] = math.Float64bits(arg)
		}
	}
	results, err := function.Call(p.ctx, words...)
	if err != nil {
		return 0, err
	}
	if function.Definition().ResultTypes()[0] == api.ValueTypeF64 {
		return math.Float64frombits(results[0]), nil
	}
	return float64(int32(uint32(results[0]))), nil
}

func (p *player) address(place string) uint32 {
	name, off, _ := strings.Cut(place, "+")
	number, _ := strconv.Atoi(off) // No offset is 0.
	return p.names[name] + uint32(number)
}

func inside(ok bool) error {
	if ok {
		return nil
	}
	return errors.New("outside of memory")
}
