package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// index is a search index over the text of orders. It is in step with the table by the events of a trigger, which come at least once, and, when another region goes on for one that was lost, from both. A repeated or an older one changes nothing: see entry.stale.
type index struct {
	mu     sync.Mutex
	orders map[string]entry // by id
	events int
}

// entry is the newest state of an order that the index was told.
type entry struct {
	stamp     string
	sequences map[string]string // by region: of the newest event that it told of the order
	words     []string          // nil: there is no such order any more
}

// stale reports whether an event about the order tells nothing new. The state with the greater stamp is the later one, whichever regions told them. Merges can make several states with the same stamp: what a region tells of them it tells in the order of its sequences.
func (x *entry) stale(e *event) bool {
	return e.Stamp < x.stamp || e.Sequence <= x.sequences[e.Region]
}

// event is what the index needs of a CloudEvent.
type event struct {
	Type     string `json:"type"`
	Region   string `json:"region"`
	Sequence string `json:"sequence"`
	Stamp    string `json:"stamp"`
	Data     struct {
		Keys map[string]map[string]string `json:"keys"`
		New  map[string]map[string]any    `json:"new"`
	} `json:"data"`
}

// ServeHTTP takes a batch of events. Whatever is not answered with success comes again.
func (x *index) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var batch []event
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<20)).Decode(&batch); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range batch {
		e := &batch[i]
		x.events++
		id := e.Data.Keys["id"]["S"]
		now := x.orders[id]
		if now.stale(e) {
			continue
		}
		if now.sequences == nil {
			now.sequences = map[string]string{}
		}
		now.stamp, now.sequences[e.Region], now.words = e.Stamp, e.Sequence, nil
		if e.Type != "concordat.item.remove" {
			text, _ := e.Data.New["text"]["S"].(string)
			now.words = strings.Fields(strings.ToLower(text))
		}
		x.orders[id] = now
	}
}

// search returns the ids of the orders whose text has a word, in order.
func (x *index) search(word string) (ids []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, e := range x.orders {
		if slices.Contains(e.words, strings.ToLower(word)) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// texts returns the texts of all orders that there are, by id.
func (x *index) texts() map[string]string {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := map[string]string{}
	for id, e := range x.orders {
		if e.words != nil {
			out[id] = strings.Join(e.words, " ")
		}
	}
	return out
}
