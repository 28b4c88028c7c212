package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// index is a search index over the text of orders. It is in step with the table by the events of a trigger, which come at least once: of two about an order the one with the greater stamp has the later state, so a repeated or an older one changes nothing.
type index struct {
	mu     sync.Mutex
	orders map[string]entry // by id
	events int
}

type entry struct {
	stamp string
	words []string // nil: there is no such order any more
}

// event is what the index needs of a CloudEvent.
type event struct {
	Type  string `json:"type"`
	Stamp string `json:"stamp"`
	Data  struct {
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
	for _, e := range batch {
		x.events++
		id := e.Data.Keys["id"]["S"]
		if e.Stamp <= x.orders[id].stamp {
			continue
		}
		now := entry{stamp: e.Stamp}
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
