//! What a client used to reach this server: the host, the scheme, and its own address. Proxies say it in `X-Forwarded-*` or
//! `Forwarded`; they count where the connection comes from one of `TRUSTED_PROXIES`, and from nothing else.

use std::net::{IpAddr, SocketAddr};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::config::{Config, Networks};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The other end of a request's connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// What the settings say about the way here.
#[derive(Debug, Clone)]
pub struct Site {
    trusted: Networks,
    /// Whether a cookie that is given over https is marked as one of https: no setting says whether it is.
    marks_cookies: bool,
}

/// What a client used, as far as it is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientView {
    /// Host and port, as in a URL.
    pub host: Option<String>,
    /// Whether a trusted proxy says that the client came over https.
    pub https: bool,
    pub address: Option<IpAddr>,
}

impl Site {
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { trusted: config.web.trusted_proxies.clone(), marks_cookies: config.session.follows_proxy }
    }

    /// What the client of `request` used.
    #[must_use]
    pub fn view<B>(&self, request: &axum::http::Request<B>) -> ClientView {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip().to_canonical());
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let host = request.uri().authority().map(Authority::as_str).or(host).map(str::to_owned);
        let direct = ClientView { host, https: false, address: peer };
        match peer.filter(|peer| self.trusted.contains(*peer)) {
            Some(_) => self.through_proxies(request.headers(), direct),
            None => direct,
        }
    }

    /// The address of a request's client, as [`Site::view`] has it.
    #[must_use]
    pub fn client_address<B>(&self, request: &axum::http::Request<B>) -> Option<IpAddr> {
        let peer = request.extensions().get::<Peer>()?.0.ip().to_canonical();
        if self.trusted.contains(peer) { self.view(request).address } else { Some(peer) }
    }

    /// Whether cookies that go out with the answer are to be marked as those of https.
    #[must_use]
    pub fn marks_cookies_of<B>(&self, request: &axum::http::Request<B>) -> bool {
        self.marks_cookies && self.view(request).https
    }

    fn through_proxies(&self, headers: &HeaderMap, direct: ClientView) -> ClientView {
        let hops = Hops::read(headers);
        // Each proxy adds its client at the end, and what stands before an untrusted address may be made up by it.
        let is_trusted = |client: &Option<IpAddr>| client.is_some_and(|client| self.trusted.contains(client));
        let trusted = hops.clients.iter().rev().take_while(|client| is_trusted(client)).count();
        let back = trusted.min(hops.clients.len().saturating_sub(1));
        let https = from_end(&hops.protos, back).is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
        let host = from_end(&hops.hosts, back).filter(|host| is_host(host));
        let host = host.map(|host| without_default_port(&host, https)).or(direct.host);
        ClientView { host, https, address: from_end(&hops.clients, back).or(direct.address) }
    }
}

/// Marks cookies that are given over https, so that browsers send them over nothing else.
pub fn mark_cookies(headers: &mut HeaderMap) {
    if let header::Entry::Occupied(mut cookies) = headers.entry(header::SET_COOKIE) {
        for cookie in cookies.iter_mut() {
            let is_marked = String::from_utf8_lossy(cookie.as_bytes()).split("; ").any(|part| part == "Secure");
            let marked = HeaderValue::from_bytes(&[cookie.as_bytes(), b"; Secure"].concat());
            if let Ok(marked) = marked
                && !is_marked
            {
                *cookie = marked;
            }
        }
    }
}

/// What the proxies on the way say, the nearest to the client first. The lists may differ in length: some proxies add to
/// them, others replace them.
#[derive(Default)]
struct Hops {
    clients: Vec<Option<IpAddr>>,
    hosts: Vec<Option<String>>,
    protos: Vec<Option<String>>,
}

impl Hops {
    /// `Forwarded` counts where there is no `X-Forwarded-*`: a proxy that writes the one passes on what its client says in
    /// the other.
    fn read(headers: &HeaderMap) -> Self {
        let list = |name: &HeaderName| -> Vec<Option<String>> {
            let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
            lines.flat_map(|line| line.split(',')).map(|part| Some(part.trim().to_owned())).collect()
        };
        let clients = list(&FORWARDED_FOR).into_iter().map(|node| node.as_deref().and_then(address)).collect();
        let hops = Self { clients, hosts: list(&FORWARDED_HOST), protos: list(&FORWARDED_PROTO) };
        match hops.clients.is_empty() && hops.hosts.is_empty() && hops.protos.is_empty() {
            true => Self::read_forwarded(headers),
            false => hops,
        }
    }

    /// RFC 7239.
    fn read_forwarded(headers: &HeaderMap) -> Self {
        let mut hops = Self::default();
        for line in headers.get_all(header::FORWARDED).iter().filter_map(|line| line.to_str().ok()) {
            for element in unquoted(line, ',') {
                let pairs: Vec<(&str, String)> = unquoted(element, ';').into_iter().filter_map(pair).collect();
                let find = |name: &str| pairs.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                let value = |name: &str| find(name).map(|(_, value)| value.clone());
                hops.clients.push(value("for").as_deref().and_then(address));
                hops.hosts.push(value("host"));
                hops.protos.push(value("proto"));
            }
        }
        hops
    }
}

fn from_end<T: Clone>(list: &[Option<T>], back: usize) -> Option<T> {
    let last = list.len().checked_sub(1)?;
    list[last - back.min(last)].clone()
}

/// The parts of a text between separators that stand in no quotes.
fn unquoted(text: &str, separator: char) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = text.split(|c: char| {
        let splits = c == separator && !is_quoted;
        is_quoted ^= c == '"' && !is_escaped;
        is_escaped = c == '\\' && is_quoted && !is_escaped;
        splits
    });
    parts.map(str::trim).collect()
}

fn pair(text: &str) -> Option<(&str, String)> {
    let (name, value) = text.split_once('=')?;
    let quoted = value.trim().strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    Some((name.trim(), quoted.map_or_else(|| value.trim().to_owned(), |value| value.replace('\\', ""))))
}

/// The address of a node, which may have a port; `None` for `unknown` and for made-up names.
fn address(node: &str) -> Option<IpAddr> {
    let without_port = match node.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None if node.matches(':').count() == 1 => node.split_once(':')?.0,
        None => node,
    };
    without_port.parse().ok().map(|address: IpAddr| address.to_canonical())
}

fn is_host(text: &str) -> bool {
    !text.contains('@') && text.parse::<Authority>().is_ok_and(|authority| !authority.host().is_empty())
}

/// Browsers leave the port out where it is the scheme's own.
fn without_default_port(host: &str, https: bool) -> String {
    host.strip_suffix(if https { ":443" } else { ":80" }).unwrap_or(host).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Given;

    fn view(trusted: &str, peer: &str, headers: &[(&'static str, &str)]) -> ClientView {
        let secret = "a secret for tests and of more than 32 characters";
        let given = Given::from_iter([("TRUSTED_PROXIES", trusted), ("SESSION_SECRET", secret)]);
        let site = Site::new(&Config::new(&given).unwrap());
        let mut request = axum::http::Request::new(axum::body::Body::empty());
        request.extensions_mut().insert(Peer(SocketAddr::new(peer.parse().unwrap(), 4711)));
        request.headers_mut().insert(header::HOST, HeaderValue::from_static("inner:3000"));
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_str(value).unwrap());
        }
        site.view(&request)
    }

    fn seen(host: &str, https: bool, address: &str) -> ClientView {
        ClientView { host: Some(host.to_owned()), https, address: address.parse().ok() }
    }

    #[test]
    fn proxies_are_believed_where_they_are_trusted() {
        let said = [
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-host", "chat.example.com"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=198.51.100.1;host=made-up.example"),
        ];
        assert_eq!(view("10.0.0.0/8", "10.0.0.1", &said), seen("chat.example.com", true, "203.0.113.7"));
        assert_eq!(view("10.0.0.0/8", "::ffff:10.0.0.1", &said), seen("chat.example.com", true, "203.0.113.7"));
        assert_eq!(view("10.0.0.0/8", "11.0.0.1", &said), seen("inner:3000", false, "11.0.0.1"));
        assert_eq!(view("", "127.0.0.1", &said), seen("inner:3000", false, "127.0.0.1"));
        assert_eq!(view("10.0.0.1", "10.0.0.1", &[]), seen("inner:3000", false, "10.0.0.1"));
    }

    #[test]
    fn what_the_client_put_before_a_proxys_own_words_is_not_believed() {
        let said = [
            ("x-forwarded-for", "127.0.0.1, 10.9.9.9, 203.0.113.7, 10.0.0.2"),
            ("x-forwarded-host", "evil.example, chat.example.com, middle"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(view("10.0.0.0/8", "10.0.0.1", &said), seen("chat.example.com", true, "203.0.113.7"));
        let two_lines = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "203.0.113.7:1234")];
        assert_eq!(view("10.0.0.1", "10.0.0.1", &two_lines), seen("inner:3000", false, "203.0.113.7"));
        let all_trusted = [("x-forwarded-for", "10.0.0.3, 10.0.0.2"), ("x-forwarded-proto", "HTTPS, http")];
        assert_eq!(view("10.0.0.0/8", "10.0.0.1", &all_trusted), seen("inner:3000", true, "10.0.0.3"));
    }

    #[test]
    fn forwarded_is_read_as_its_specification_says() {
        let said = [(
            "forwarded",
            "for=1.2.3.4;host=\"evil, x\", For=\"[2001:db8::7]:80\";Proto=https;HOST=\"chat.example.com\"",
        )];
        assert_eq!(view("::1", "::1", &said), seen("chat.example.com", true, "2001:db8::7"));
        let hidden = [("forwarded", "for=_hidden; host=chat.example.com:443; proto=https")];
        assert_eq!(view("::1", "::1", &hidden), seen("chat.example.com", true, "::1"));
    }

    #[test]
    fn what_is_no_host_is_none() {
        for bad in ["", "a b", "user@chat.example.com", "/", "chat.example.com/path"] {
            assert_eq!(view("::1", "::1", &[("x-forwarded-host", bad)]), seen("inner:3000", false, "::1"), "{bad}");
        }
        assert_eq!(view("::1", "::1", &[("x-forwarded-host", "box.lan:80")]), seen("box.lan", false, "::1"));
    }
}
