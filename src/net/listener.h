// Listener: bound descriptors and the acceptor behind them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/slab.h"
#include "net/handler_cell.h"
#include "net/proxy_protocol.h"
#include "net/timers.h"
#include "net/token.h"
#include "os/fd.h"
#include "os/poller.h"
#include "os/sys.h"
#include "warren/listen.h"

namespace warren::net {

class ReactorImpl;

// One bound descriptor.
struct Endpoint {
  os::Fd fd;
  Address address;
};

// What a listener listens on. Made by `bindEndpoints` before there is a listener.
struct Binding {
  std::vector<Endpoint> endpoints;
  std::string hostname;  // as given
  std::string unixPath;  // absolute, or behind a NUL byte
  os::sys::FileId unixFile;
};

// Binds and listens as the options say, on all of it or on nothing.
Result<Binding> bindEndpoints(const detail::ListenRequest& request);
// Closes and, with `removeFile`, removes the unix path if it is still ours. The facts stay.
void unbind(Binding& binding, bool removeFile);

// A listener, in a slab slot.
//   owner  the reactor; stopped ones keep their facts until enough others have stopped after them
class Listener : public base::Slot {
 public:
  Listener(base::SlotId id, ReactorImpl& reactor, HandlerCell& cell, Binding binding,
           detail::ListenRequest& request);
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // Watches the descriptors from now on. An error stops it, and leaves a descriptor that was adopted
  // open and its giver's.
  Result<void> start(bool adopted);
  void onReady(Part endpoint);
  // Something came free: a descriptor, or a place below maxConnections or maxHandshakes.
  void reconsider();
  // Tells the user that a connection could not be accepted.
  void report(const Error& error);
  void onRetryTime();
  void onHurryTime();
  void onHandshakeEnd();
  void stop(bool closeActive);
  // The reactor goes away: closes without a handler being called.
  void abandon(bool forked);
  void leaveCell();
  void ownsPath(bool owns);
  Result<void> reloadTls(const TlsOptions& options);
  Result<void> addServerName(std::string_view name, const TlsOptions& options);
  bool removeServerName(std::string_view name);
  // Lets go of all facts.
  void forget();
  void setReferenced(bool referenced);

  bool listening() const { return !stopped_; }
  // Null once it is stopped and has no sockets left.
  HandlerCell* cell() const { return cell_; }
  int port() const;
  const std::string& hostname() const { return binding_.hostname; }
  const std::string& unixPath() const { return binding_.unixPath; }
  std::vector<Address> addresses() const;
  std::vector<int> descriptors() const;
  ListenerStats stats() const;
  // One line for people.
  std::string describe() const;

 private:
  friend class ReactorImpl;
  ~Listener() = delete;  // a slot's object is emptied: late questions still find it

  bool fullOfHandshakes() const;
  bool full() const;
  bool acceptOne(Endpoint& endpoint);
  bool acceptFailed(Endpoint& endpoint, int error);
  void admit(os::Fd fd, const Address& peer);
  void starve(Endpoint& endpoint, int error);
  void countFailure();
  Result<void> watchAll();
  void keepSpare();
  void pauseAccepting();
  void resumeAccepting();
  void startTimer(uint32_t& place, TimerKind kind, uint64_t delay);
  void cancelTimers();
  void hurry();
  void closeSockets();

  // What a listener behind proxies knows of them.
  struct Proxies {
    std::vector<Network> trusted;
    size_t maxHeader;
  };
  bool trusts(const Address& peer) const;

  ReactorImpl& reactor_;
  HandlerCell* cell_;
  Binding binding_;
  const size_t maxConnections_;
  Callback<const Error&> acceptError_;
  std::optional<Proxies> proxies_;
  os::Fd spare_;  // given up to shed a connection when there are no descriptors left
  uint32_t retryTimer_ = kNone;
  uint32_t hurryTimer_ = kNone;
  bool paused_ = false;  // not watched
  ListenerStats stats_;
  bool starved_ = false;  // accepting failed, and it was reported
  bool stopped_ = false;
  bool referenced_ = true;
};

}  // namespace warren::net
