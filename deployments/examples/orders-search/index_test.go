package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestIndexKeepsTheNewest: whatever comes twice, late, or from a region that took over, the index ends with the last state.
func TestIndexKeepsTheNewest(t *testing.T) {
	x := &index{orders: map[string]entry{}}
	tell := func(region, sequence, stamp, text string) {
		t.Helper()
		kind, image := "modify", fmt.Sprintf(`{"text": {"S": %q}}`, text)
		if text == "" {
			kind, image = "remove", "null"
		}
		body := fmt.Sprintf(`[{"type": "concordat.item.%s", "region": %q, "sequence": %q, "stamp": %q, "data": {"keys": {"id": {"S": "1"}}, "new": %s}}]`, kind, region, sequence, stamp, image)
		w := httptest.NewRecorder()
		if x.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/events", strings.NewReader(body))); w.Code != http.StatusOK {
			t.Fatal(w.Code, w.Body)
		}
	}
	expect := func(when, want string) {
		t.Helper()
		if got := x.texts()["1"]; got != want {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	tell("eu", "11", "20", "tea")
	tell("eu", "12", "20", "tea paid") // a merge of something older: the same stamp
	expect("a merge", "tea paid")
	tell("eu", "11", "20", "tea")
	expect("told again", "tea paid")
	tell("us", "05", "10", "cocoa")
	expect("older, of another region", "tea paid")
	tell("us", "06", "20", "paid") // it had the newer write first
	tell("us", "07", "20", "tea paid")
	expect("taken over", "tea paid")
	tell("us", "06", "20", "paid")
	expect("told again by the other one", "tea paid")
	tell("us", "08", "30", "")
	expect("removed", "")
	tell("eu", "13", "20", "late")
	expect("older than its removal", "")
	tell("us", "09", "30", "anew")
	expect("written anew at that moment", "anew")
}
