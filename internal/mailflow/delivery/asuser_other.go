//go:build !linux

package delivery

// asUser calls f. Where threads have no credentials of their own a delivery
// as root for another user is refused rather than made with root's rights.
func (a *Agent) asUser(u *account, f func() error) error {
	if a.root && u.uid != 0 {
		return deferred("4.3.5", "delivery with the rights of user %s works on Linux only; run weir as that user", u.name)
	}
	return f()
}
