package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// triggers are the metrics of triggers.
type triggers struct {
	delivered *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	failed    *prometheus.CounterVec
	withheld  *prometheus.CounterVec
	gaps      *prometheus.CounterVec
	buried    *prometheus.CounterVec
	fires     *prometheus.GaugeVec
	behind    *prometheus.GaugeVec
}

func newTriggers(f factory) triggers {
	labels := []string{"table", "trigger"}
	return triggers{
		delivered: f.counters("concordat_trigger_events_delivered_total", "Events that a trigger's target has taken.", labels...),
		seconds:   f.histograms("concordat_trigger_delivery_seconds", "Time in which the target has taken a batch.", prometheus.ExponentialBuckets(0.001, 4, 10), labels...),
		failed:    f.counters("concordat_trigger_attempts_failed_total", "Attempts to deliver a batch that failed.", labels...),
		withheld:  f.counters("concordat_trigger_events_withheld_total", "Events that were not delivered since locality policies do not let the target have them.", labels...),
		gaps:      f.counters("concordat_trigger_gaps_total", "Times that records of a change stream had gone before a trigger read them, whatever their number: its retention is too short. Not one should be.", labels...),
		buried:    f.counters("concordat_trigger_events_buried_total", "Events that could not be delivered and are dead letters.", labels...),
		fires:     f.gauges("concordat_trigger_feeds_fired", "Feeds of the trigger that this region fires.", labels...),
		behind:    f.gauges("concordat_trigger_behind_seconds", "Age of the moment up to which the trigger has dealt with all events here, of the feed that is behind most.", labels...),
	}
}

// TriggerDelivered counts events that a target has taken.
func (s *Set) TriggerDelivered(table, trigger string, events int, took time.Duration) {
	s.triggers.delivered.WithLabelValues(table, trigger).Add(float64(events))
	s.triggers.seconds.WithLabelValues(table, trigger).Observe(took.Seconds())
}

// TriggerFailed counts an attempt that failed.
func (s *Set) TriggerFailed(table, trigger string) {
	s.triggers.failed.WithLabelValues(table, trigger).Inc()
}

// TriggerWithheld counts events that the target may not have.
func (s *Set) TriggerWithheld(table, trigger string, events int) {
	s.triggers.withheld.WithLabelValues(table, trigger).Add(float64(events))
}

// TriggerGap counts that records had gone.
func (s *Set) TriggerGap(table, trigger string) {
	s.triggers.gaps.WithLabelValues(table, trigger).Inc()
}

// TriggerBuried counts dead letters.
func (s *Set) TriggerBuried(table, trigger string, events int) {
	s.triggers.buried.WithLabelValues(table, trigger).Add(float64(events))
}

// TriggerFires sets how many feeds are fired here, and how far the last of them is behind.
func (s *Set) TriggerFires(table, trigger string, feeds int, behind time.Duration) {
	s.triggers.fires.WithLabelValues(table, trigger).Set(float64(feeds))
	s.triggers.behind.WithLabelValues(table, trigger).Set(behind.Seconds())
}

// TriggerEnds forgets the gauges of a trigger.
func (s *Set) TriggerEnds(table, trigger string) {
	s.triggers.fires.DeleteLabelValues(table, trigger)
	s.triggers.behind.DeleteLabelValues(table, trigger)
}
