package replication

import "time"

// allowance is how many bytes may be passed on: so many a second, after some at once.
// The zero value has used none.
type allowance struct {
	whole time.Time // when all that may go at once may go again
}

// wait returns how long it takes until something may go on. That may be more than is
// left then; what comes after it waits for that.
func (b allowance) wait(now time.Time, burst time.Duration) time.Duration {
	return max(0, b.whole.Sub(now)) - burst
}

// spend takes as much as is allowed in a time.
func (b *allowance) spend(now time.Time, lasts time.Duration) {
	if b.whole.Before(now) {
		b.whole = now
	}
	b.whole = b.whole.Add(lasts)
}

// lasts returns in what time so many bytes are allowed.
func lasts(bytes, perSecond int) time.Duration {
	return time.Duration(float64(bytes) / float64(perSecond) * float64(time.Second))
}

// wait returns how long it takes until a record of a source may go on.
func (a *Adopter) wait(s *source, now time.Time) time.Duration {
	l := a.limits
	return max(
		s.bytes.wait(now, lasts(l.BytesBurstPerSource, l.BytesPerSource)),
		s.group.bytes.wait(now, lasts(l.BytesBurstPerGroup, l.BytesPerGroup)))
}

// spend counts bytes of a source.
func (a *Adopter) spend(s *source, bytes int, now time.Time) {
	s.bytes.spend(now, lasts(bytes, a.limits.BytesPerSource))
	s.group.bytes.spend(now, lasts(bytes, a.limits.BytesPerGroup))
}

// hold counts a record that waits for its source's bytes, once.
func (a *Adopter) hold(r *adopted) {
	if r.held {
		return
	}
	r.held = true
	a.held++
	a.tracer.Held()
}

// wakeIn has those that are held back looked at again after a while.
func (a *Adopter) wakeIn(wait time.Duration) {
	if a.wake == nil {
		a.wake = time.AfterFunc(wait, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.hire()
		})
		return
	}
	a.wake.Reset(wait)
}

// forgetLater reports whether a source, or its group, has bytes to get back, and then
// has it looked at again when it has them.
func (a *Adopter) forgetLater(s *source) bool {
	whole := s.bytes.whole
	if len(s.group.sources) == 1 && s.group.bytes.whole.After(whole) {
		whole = s.group.bytes.whole
	}
	wait := time.Until(whole)
	if wait <= 0 || a.closed {
		return false
	}
	if s.forget == nil {
		s.forget = time.AfterFunc(wait, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			if !a.closed {
				a.forgetIfIdle(s)
			}
		})
		return true
	}
	s.forget.Reset(wait)
	return true
}

// forgetSources forgets those that are left, which have nothing but bytes to get back.
func (a *Adopter) forgetSources() {
	for _, g := range a.groups {
		for _, s := range g.sources {
			if s.forget != nil {
				s.forget.Stop()
			}
		}
	}
	a.groups, a.heaviest = make(map[string]*group), nil
	if a.wake != nil {
		a.wake.Stop()
	}
}
