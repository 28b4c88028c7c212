package admin

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/concordat-db/concordat/globaltable"
)

// maxRequestBody bounds the body of a request, in bytes.
const maxRequestBody = 64 << 10

// defaultValid is how long an invitation is valid if the request does not say it.
const defaultValid = 24 * time.Hour

// NewRegion is the body of POST /v1/regions.
type NewRegion struct {
	Descriptor   string `json:"descriptor"`             // signed by the new region
	ValidSeconds int64  `json:"validSeconds,omitempty"` // how long the invitation lets it start for the first time; default a day
}

// Invitation is the answer: the region is a member, and starts with the invitation.
type Invitation struct {
	Region     string `json:"region"`
	Origin     uint16 `json:"origin"`
	World      string `json:"world"`   // version of the world's document
	Expires    string `json:"expires"` // RFC 3339
	Invitation string `json:"invitation"`
}

func (s *Server) addRegion(w http.ResponseWriter, r *http.Request) {
	var body NewRegion
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequestBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil || body.Descriptor == "" || body.ValidSeconds < 0 || body.ValidSeconds > int64(globaltable.MaxInvitationTime/time.Second) {
		fail(w, http.StatusBadRequest, "the body must be a JSON object with descriptor and, between 1 and 2592000, validSeconds")
		return
	}
	valid := time.Duration(body.ValidSeconds) * time.Second
	if valid == 0 {
		valid = defaultValid
	}
	i, err := s.cfg.AddRegion(r.Context(), body.Descriptor, valid)
	if err != nil {
		failWith(w, err)
		return
	}
	answer(w, http.StatusOK, i)
}
