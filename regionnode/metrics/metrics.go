// Package metrics has the node's Prometheus metrics. The other parts know nothing of it: they call event callbacks, and
// the node connects those to a Set. No label carries a key or a value of an item.
package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Set is the metrics of one node, in a registry of its own, so that several nodes live in one process.
type Set struct {
	registry *prometheus.Registry
	triggers triggers

	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec

	groups     prometheus.Counter
	groupSize  prometheus.Histogram
	batchBytes prometheus.Counter

	acknowledged *prometheus.HistogramVec

	applied      *prometheus.CounterVec
	lag          *prometheus.HistogramVec
	logReads     *prometheus.CounterVec
	stops        *prometheus.CounterVec
	exchanged    *prometheus.CounterVec
	exchangedB   *prometheus.CounterVec
	catchingUp   *prometheus.GaugeVec
	replayed     *prometheus.CounterVec
	lagging      *prometheus.GaugeVec
	collected    *prometheus.CounterVec
	conflicts    *prometheus.GaugeVec
	conflictB    *prometheus.GaugeVec
	streamed     *prometheus.GaugeVec
	streamedB    *prometheus.GaugeVec
	waiting      *prometheus.GaugeVec
	expiring     *prometheus.GaugeVec
	purgeAge     *prometheus.GaugeVec
	indexed      prometheus.Counter
	unbuilt      prometheus.Gauge
	placed       prometheus.Counter
	erased       prometheus.Counter
	voided       prometheus.Counter
	tookOver     prometheus.Counter
	comparedB    *prometheus.CounterVec
	comparedSecs *prometheus.CounterVec
	diverged     *prometheus.GaugeVec
	connected    *prometheus.GaugeVec
	clockOffset  *prometheus.GaugeVec
	forwarded    *prometheus.CounterVec
	forwardedB   *prometheus.CounterVec
	foreign      *prometheus.CounterVec
	heldBack     *prometheus.CounterVec
	denied       *prometheus.CounterVec
	streamResets prometheus.Counter
	busFailures  prometheus.Counter
	published    *prometheus.CounterVec
	publishedB   *prometheus.CounterVec
	publishLag   *prometheus.GaugeVec
	refills      *prometheus.CounterVec
	publishFails prometheus.Counter
	grants       prometheus.Gauge

	refused  *prometheus.GaugeVec
	diskFree prometheus.Gauge
}

// New returns the metrics of the region named.
func New(region string) *Set {
	s := &Set{registry: prometheus.NewRegistry()}
	f := factory{registry: prometheus.WrapRegistererWith(prometheus.Labels{"region": region}, s.registry)}
	latency := prometheus.ExponentialBuckets(0.0001, 2, 18) // 0.1 ms to 13 s
	s.requests = f.counters("concordat_dynamodb_requests_total", "DynamoDB requests answered.", "operation", "status")
	s.seconds = f.histograms("concordat_dynamodb_request_seconds", "Time to answer a DynamoDB request.", latency, "operation")
	s.groups = f.counter("concordat_commit_groups_total", "Groups committed, each with one disk sync.")
	s.groupSize = f.histogram("concordat_commit_group_changes", "Changes in a group.", prometheus.ExponentialBuckets(1, 2, 14))
	s.batchBytes = f.counter("concordat_commit_batch_bytes_total", "Bytes of the store's batches.")
	s.acknowledged = f.histograms("concordat_acknowledge_seconds", "Time that writes waited for peers, in tables that ask for it, by whether the peers confirmed in time.",
		latency, "confirmed")
	s.applied = f.counters("concordat_inbox_changes_applied_total", "Changes of another region applied here.", "origin")
	s.lag = f.histograms("concordat_inbox_lag_seconds", "From the stamp of a batch's newest change to its durability here.", latency, "origin")
	s.logReads = f.counters("concordat_inbox_log_entries_read_total", "Entries read from an origin's log instead of its stream.", "origin")
	s.stops = f.counters("concordat_inbox_lane_stops_total", "Lanes that stopped, by reason.", "origin", "reason")
	s.exchanged = f.counters("concordat_exchange_records_total", "Whole records that came from another region's store.", "source")
	s.exchangedB = f.counters("concordat_exchange_bytes_total", "Bytes of them.", "source")
	s.replayed = f.counters("concordat_rebuild_writes_total", "Saved writes of a region that was rebuilt, by what became of them.", "outcome")
	s.catchingUp = f.gauges("concordat_exchange_catching_up", "1 while what an origin's log has not kept for this region is brought by exchange.", "origin")
	s.lagging = f.gauges("concordat_outbox_peer_lagging_lanes", "Lanes whose log has not kept all that the peer has not confirmed.", "peer")
	s.collected = f.counters("concordat_tombstones_collected_total", "Records that were collected: of a deleted item, with removed attributes in a live one, or of an item that had expired.", "of")
	s.expiring = f.gauges("concordat_items_expiring", "Items of the table that expire some time, or have expired and are not erased yet.", "table")
	s.waiting = f.gauges("concordat_tombstones_waiting", "Records of the table with something to collect: deleted items, and live ones with removed attributes.", "table")
	s.purgeAge = f.gauges("concordat_purge_frontier_age_seconds", "Age of the moment up to which every replica of the table is known to have everything; missing until it is known.", "table")
	s.conflicts = f.gauges("concordat_conflicts", "Conflicts that are listed: writes that concurrent ones have discarded.", "table")
	s.conflictB = f.gauges("concordat_conflict_bytes", "Size of the conflicts that are listed.", "table")
	s.streamed = f.gauges("concordat_stream_records", "Records of the table's change streams that this region keeps.", "table")
	s.streamedB = f.gauges("concordat_stream_bytes", "Size of the records of the table's change streams.", "table")
	s.indexed = f.counter("concordat_index_build_records_total", "Records gone through to build indexes that were new.")
	s.unbuilt = f.gauge("concordat_indexes_unbuilt", "Indexes that are being built: queries on them are refused.")
	s.placed = f.counter("concordat_placements_total", "Versions of tables' locality policies that this region has carried out.")
	s.erased = f.counter("concordat_placement_records_erased_total", "Records erased here because locality policies do not let them be here any more, after another region took them over.")
	s.voided = f.counter("concordat_placement_entries_voided_total", "Entries of the region's log whose changes were erased because of locality policies.")
	s.tookOver = f.counter("concordat_placement_records_taken_total", "Records taken over from regions that may not have them any more.")
	s.comparedB = f.counters("concordat_compare_bytes_total", "Bytes read for comparisons in the background, on the side that read more.", "peer")
	s.comparedSecs = f.counters("concordat_compare_seconds_total", "Time in which they were read.", "peer")
	s.diverged = f.gauges("concordat_compare_diverged_tables", "Tables that are known to have diverged from the peer's: run concordat verify, and concordat repair.", "peer")
	s.connected = f.gauges("concordat_inbox_connected", "Whether the origin can be reached.", "origin")
	s.clockOffset = f.gauges("concordat_clock_ahead_seconds", "How far this clock is ahead of the peer's.", "peer")
	s.forwarded = f.counters("concordat_forwarded_requests_total", "Clients' requests on items that may not be in the client's region: by who was asked or has asked, side (asked, served) and whether there was an answer.", "peer", "side", "answered")
	s.forwardedB = f.counters("concordat_forwarded_bytes_total", "Bytes of parameters and answers of forwarded requests, by the way they went from this region.", "peer", "side", "way")
	s.foreign = f.counters("concordat_foreign_changes_total", "Changes that a peer has sent though it should have known that the item may not be here. They were voided; not one should be.", "peer")
	s.denied = f.counters("concordat_peer_refusals_total", "Requests of a peer that were denied, as for a lane that it is not in. When placements change there may be a few.", "peer")
	s.heldBack = f.counters("concordat_egress_refused_total", "Entries of the log that were held back since the peer may not have a change in it. While policies are being placed some are; none else should be.", "peer", "placing")
	s.streamResets = f.counter("concordat_outbox_stream_resets_total", "Streams deleted and filled again from the log.")
	s.published = f.counters("concordat_stream_published_total", "Events of change streams that the region's NATS has taken.", "table")
	s.publishedB = f.counters("concordat_stream_published_bytes_total", "Bytes of them.", "table")
	s.publishLag = f.gauges("concordat_stream_lag_seconds", "From what the region's NATS has of the table's change stream to its newest record.", "table")
	s.refills = f.counters("concordat_stream_refills_total", "How often the table's stream of events was filled anew, from where its readers were: at a start, and when the region's NATS had lost something or policies were changed.", "table")
	s.publishFails = f.counter("concordat_stream_publish_failures_total", "Failed attempts to bring events into the region's NATS. They are repeated.")
	s.grants = f.gauge("concordat_stream_grants", "Grants to read events from the region's NATS.")
	s.busFailures = f.counter("concordat_outbox_failures_total", "Failed actions on the region's own NATS.")
	s.refused = f.gauges("concordat_writes_refused", "1 while client writes are refused for the reason.", "reason")
	s.diskFree = f.gauge("concordat_disk_free_bytes", "Free space of the data directory's file system.")
	s.triggers = newTriggers(f)
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s
}

// Published counts events that the region's NATS has taken.
func (s *Set) Published(table string, events, bytes int) {
	s.published.WithLabelValues(table).Add(float64(events))
	s.publishedB.WithLabelValues(table).Add(float64(bytes))
}

// PublishLag sets how far the region's NATS is behind the table's change stream.
func (s *Set) PublishLag(table string, lag time.Duration) {
	s.publishLag.WithLabelValues(table).Set(lag.Seconds())
}

// PublishEnds forgets a table that has no events.
func (s *Set) PublishEnds(table string) { s.publishLag.DeleteLabelValues(table) }

// Refilled counts that the stream of a table's events was filled anew.
func (s *Set) Refilled(table string) { s.refills.WithLabelValues(table).Inc() }

// PublishFailed counts a failed attempt.
func (s *Set) PublishFailed() { s.publishFails.Inc() }

// Grants sets how many there are.
func (s *Set) Grants(n int) { s.grants.Set(float64(n)) }

// Handler serves the metrics in Prometheus's text format.
func (s *Set) Handler() http.Handler { return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}) }

// Request counts an answered DynamoDB request.
func (s *Set) Request(operation string, status int, took time.Duration) {
	if operation == "" {
		operation = "unknown"
	}
	s.requests.WithLabelValues(operation, strconv.Itoa(status)).Inc()
	s.seconds.WithLabelValues(operation).Observe(took.Seconds())
}

// Group counts a durable commit group.
func (s *Set) Group(changes, batchBytes int) {
	s.groups.Inc()
	s.groupSize.Observe(float64(changes))
	s.batchBytes.Add(float64(batchBytes))
}

// Acknowledged observes a write that waited for peers.
func (s *Set) Acknowledged(took time.Duration, confirmed bool) {
	s.acknowledged.WithLabelValues(strconv.FormatBool(confirmed)).Observe(took.Seconds())
}

// Applied counts applied changes of an origin.
func (s *Set) Applied(origin string, changes int, lag time.Duration) {
	s.applied.WithLabelValues(origin).Add(float64(changes))
	s.lag.WithLabelValues(origin).Observe(max(0, lag.Seconds()))
}

// LogRead counts entries read from an origin's log.
func (s *Set) LogRead(origin string, entries int) {
	s.logReads.WithLabelValues(origin).Add(float64(entries))
}

// Exchanged counts records that came from another region's store.
func (s *Set) Exchanged(source string, records, bytes int) {
	s.exchanged.WithLabelValues(source).Add(float64(records))
	s.exchangedB.WithLabelValues(source).Add(float64(bytes))
}

// Replayed counts saved writes that were replayed.
func (s *Set) Replayed(known, logged, kept int) {
	for outcome, n := range map[string]int{"known": known, "logged": logged, "kept": kept} {
		s.replayed.WithLabelValues(outcome).Add(float64(n))
	}
}

// CatchingUp sets whether what an origin's log has not kept is brought by exchange.
func (s *Set) CatchingUp(origin string, is bool) {
	s.catchingUp.WithLabelValues(origin).Set(number(is))
}

// Lagging notes that a lane's log has, or no longer has, left a peer behind.
func (s *Set) Lagging(peer string, is bool) { s.lagging.WithLabelValues(peer).Add(2*number(is) - 1) }

// Collected counts records that were collected.
func (s *Set) Collected(deleted, reduced, expired int) {
	s.collected.WithLabelValues("expired items").Add(float64(expired))
	s.collected.WithLabelValues("deleted items").Add(float64(deleted))
	s.collected.WithLabelValues("live items").Add(float64(reduced))
}

// Collection sets what waits to be collected of a table, how many of its items expire or have expired, and how old its purge frontier is: negative if it has none yet.
func (s *Set) Collection(table string, waiting, expiring uint64, age time.Duration) {
	s.expiring.WithLabelValues(table).Set(float64(expiring))
	s.waiting.WithLabelValues(table).Set(float64(waiting))
	if age < 0 {
		s.purgeAge.DeleteLabelValues(table)
		return
	}
	s.purgeAge.WithLabelValues(table).Set(age.Seconds())
}

// CollectionEnds forgets a table.
func (s *Set) CollectionEnds(table string) {
	s.waiting.DeleteLabelValues(table)
	s.expiring.DeleteLabelValues(table)
	s.purgeAge.DeleteLabelValues(table)
	s.conflicts.DeleteLabelValues(table)
	s.conflictB.DeleteLabelValues(table)
	s.StreamRecords(table, 0, 0, 0)
}

// StreamRecords sets how many records a table's change streams have, and their size. A table without streams is not shown.
func (s *Set) StreamRecords(table string, streams int, records, bytes int64) {
	if streams == 0 {
		s.streamed.DeleteLabelValues(table)
		s.streamedB.DeleteLabelValues(table)
		return
	}
	s.streamed.WithLabelValues(table).Set(float64(records))
	s.streamedB.WithLabelValues(table).Set(float64(bytes))
}

// Conflicts sets how many conflicts a feed lists, and their size. The feed's name is its table's with "/conflicts".
func (s *Set) Conflicts(feed string, listed, bytes int64) {
	s.conflicts.WithLabelValues(feed).Set(float64(listed))
	s.conflictB.WithLabelValues(feed).Set(float64(bytes))
}

// IndexBuilt counts records gone through to build an index.
func (s *Set) IndexBuilt(records int) { s.indexed.Add(float64(records)) }

// IndexesUnbuilt sets how many indexes are being built.
func (s *Set) IndexesUnbuilt(n int) { s.unbuilt.Set(float64(n)) }

// Placed counts a version of a table's locality policies that was carried out.
func (s *Set) Placed(erased, voided int64) {
	s.placed.Inc()
	s.erased.Add(float64(erased))
	s.voided.Add(float64(voided))
}

// TookOver counts records that were taken over from another region.
func (s *Set) TookOver(records int) { s.tookOver.Add(float64(records)) }

// Compared counts what was read for a comparison in the background.
func (s *Set) Compared(peer string, bytes int64, took time.Duration) {
	s.comparedB.WithLabelValues(peer).Add(float64(bytes))
	s.comparedSecs.WithLabelValues(peer).Add(took.Seconds())
}

// Diverged sets how many tables are known to have diverged from a peer's.
func (s *Set) Diverged(peer string, tables int) {
	s.diverged.WithLabelValues(peer).Set(float64(tables))
}

// Stopped counts a lane that stopped.
func (s *Set) Stopped(origin, reason string) { s.stops.WithLabelValues(origin, reason).Inc() }

// Connected sets whether an origin can be reached.
func (s *Set) Connected(origin string, is bool) { s.connected.WithLabelValues(origin).Set(number(is)) }

// ClockAhead sets how far this clock is ahead of a peer's.
func (s *Set) ClockAhead(peer string, by time.Duration) {
	s.clockOffset.WithLabelValues(peer).Set(by.Seconds())
}

// ForgetPeer drops the gauges of a region that is not followed any more. What was counted stays.
func (s *Set) ForgetPeer(name string) {
	s.connected.DeleteLabelValues(name)
	s.clockOffset.DeleteLabelValues(name)
}

// Forwarded counts a request that was forwarded to a peer, or done for one.
func (s *Set) Forwarded(peer, side string, answered bool, sent, received int) {
	s.forwarded.WithLabelValues(peer, side, strconv.FormatBool(answered)).Inc()
	s.forwardedB.WithLabelValues(peer, side, "out").Add(float64(sent))
	s.forwardedB.WithLabelValues(peer, side, "in").Add(float64(received))
}

// ForeignChanges counts changes of a peer that may not be here.
func (s *Set) ForeignChanges(peer string, changes int) {
	s.foreign.WithLabelValues(peer).Add(float64(changes))
}

// EgressRefused counts an entry that was held back, for a change that the peer may not have.
func (s *Set) EgressRefused(peer string, placing bool) {
	s.heldBack.WithLabelValues(peer, strconv.FormatBool(placing)).Inc()
}

// PeerDenied counts a request of a peer that was denied.
func (s *Set) PeerDenied(peer string) { s.denied.WithLabelValues(peer).Inc() }

// StreamReset counts a stream made anew.
func (s *Set) StreamReset() { s.streamResets.Inc() }

// BusFailed counts a failed action on the region's own NATS.
func (s *Set) BusFailed() { s.busFailures.Inc() }

// Refused sets whether client writes are refused for a reason.
func (s *Set) Refused(reason string, is bool) { s.refused.WithLabelValues(reason).Set(number(is)) }

// DiskFree sets the free disk space.
func (s *Set) DiskFree(bytes uint64) { s.diskFree.Set(float64(bytes)) }

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// factory makes and registers collectors.
type factory struct{ registry prometheus.Registerer }

func (f factory) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	f.registry.MustRegister(c)
	return c
}

func (f factory) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	f.registry.MustRegister(c)
	return c
}

func (f factory) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	f.registry.MustRegister(g)
	return g
}

func (f factory) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	f.registry.MustRegister(g)
	return g
}

func (f factory) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	f.registry.MustRegister(h)
	return h
}

func (f factory) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	f.registry.MustRegister(h)
	return h
}
