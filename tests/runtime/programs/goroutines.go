// Tries what Go programs ask of a kernel: threads, timers, memory, signals, files and pipes.
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type node struct {
	left, right *node
}

func tree(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{tree(depth - 1), tree(depth - 1)}
}

func (n *node) count() int {
	if n.left == nil {
		return 1
	}
	return 1 + n.left.count() + n.right.count()
}

func goroutines() {
	var group sync.WaitGroup
	var lock sync.Mutex
	sum := 0
	for i := 0; i < 2000; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			runtime.Gosched()
			lock.Lock()
			sum += i
			lock.Unlock()
		}(i)
	}
	group.Wait()
	fmt.Println("goroutines", sum)
}

func channels() {
	numbers := make(chan int)
	squares := make(chan int, 10)
	for i := 0; i < 8; i++ {
		go func() {
			for n := range numbers {
				squares <- n * n
			}
		}()
	}
	go func() {
		for i := 0; i < 1000; i++ {
			numbers <- i
		}
		close(numbers)
	}()
	sum := 0
	for i := 0; i < 1000; i++ {
		sum += <-squares
	}
	fmt.Println("channels", sum)
}

func timers() {
	start := time.Now()
	ticker := time.NewTicker(5 * time.Millisecond)
	for i := 0; i < 5; i++ {
		<-ticker.C
	}
	ticker.Stop()
	select {
	case <-time.After(10 * time.Millisecond):
		fmt.Println("timers", time.Since(start) >= 30*time.Millisecond)
	case <-make(chan int):
	}
}


// A loop without calls must be preempted (by a signal) for the other goroutine to run.
func preemption() {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var stop atomic.Bool
	go stop.Store(true)
	rounds := uint64(0)
	for !stop.Load() {
		rounds++
	}
	fmt.Println("preemption", rounds > 0)
}

func collection() {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	total := 0
	for i := 0; i < 40; i++ {
		total += tree(14).count()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	fmt.Println("collection", total, after.NumGC > before.NumGC)
}

func signals() {
	arrived := make(chan os.Signal, 1)
	signal.Notify(arrived, syscall.SIGUSR1)
	syscall.Kill(syscall.Getpid(), syscall.SIGUSR1)
	fmt.Println("signals", <-arrived)
}

func recovered() {
	defer func() { fmt.Println("recovered", recover()) }()
	var missing *node
	fmt.Println(missing.left)
}

func files() error {
	directory, err := os.MkdirTemp("", "go")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	for _, name := range []string{"b", "a", "c"} {
		if err := os.WriteFile(directory+"/"+name, []byte(strings.Repeat(name+"\n", 1000)), 0o600); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(directory)
	if err != nil {
		return err
	}
	names := []string{}
	for _, entry := range entries {
		info, _ := entry.Info()
		names = append(names, fmt.Sprint(entry.Name(), info.Size(), info.Mode()))
	}
	sort.Strings(names)
	file, err := os.Open(directory + "/a")
	if err != nil {
		return err
	}
	defer file.Close()
	lines := 0
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		lines++
	}
	_, err = os.Stat(directory + "/missing")
	fmt.Println("files", names, lines, os.IsNotExist(err))
	return nil
}

func pipes() error {
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	go func() {
		time.Sleep(10 * time.Millisecond)
		fmt.Fprintln(writer, "through a pipe")
		writer.Close()
	}()
	line, err := bufio.NewReader(reader).ReadString('\n')
	fmt.Print("pipes ", line)
	return err
}

func main() {
	goroutines()
	channels()
	timers()
	preemption()
	collection()
	signals()
	recovered()
	for _, step := range []func() error{files, pipes} {
		if err := step(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	fmt.Println("processors", runtime.NumCPU() > 0, "arguments", len(os.Args))
	os.Exit(7)
}
