//! Parser for the subset of Python literals that occurs in NumPy headers.

/// A Python literal.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Literal {
    Text(String),
    /// A non-negative integer; `None` if it exceeds `usize`.
    Whole(Option<usize>),
    Bool(bool),
    Tuple(Vec<Literal>),
    List(Vec<Literal>),
    Dict(Vec<(Literal, Literal)>),
}

/// Maximum nesting depth; a header needs only a few levels.
const DEPTH: usize = 16;

/// Parses a literal.
///
/// # Errors
/// If the text is not a literal. `None` and numbers other than non-negative integers are not supported.
pub(super) fn parse(text: &str) -> Result<Literal, String> {
    let mut reader = Reader { rest: text.trim_start() };
    let literal = reader.literal(DEPTH)?;
    if reader.rest.is_empty() { Ok(literal) } else { Err(reader.unexpected()) }
}

struct Reader<'a> {
    /// Unparsed text, without leading blanks.
    rest: &'a str,
}

impl Reader<'_> {
    /// Consumes a mark and the blanks after it, if the text starts with the mark.
    fn take(&mut self, mark: &str) -> bool {
        let rest = self.rest.strip_prefix(mark);
        self.rest = rest.map_or(self.rest, str::trim_start);
        rest.is_some()
    }

    fn unexpected(&self) -> String {
        let end = self.rest.find([',', '}', ']', '\n']).unwrap_or(self.rest.len());
        match self.rest[..end].trim_end() {
            "" if self.rest.is_empty() => "it ends too early".into(),
            "" => format!("{:?} is unexpected", &self.rest[..1]),
            found => format!("{:?} is not a Python literal", found.chars().take(24).collect::<String>()),
        }
    }

    fn literal(&mut self, depth: usize) -> Result<Literal, String> {
        let Some(depth) = depth.checked_sub(1) else { return Err("its brackets are nested too deeply".into()) };
        if self.take("{") {
            let entry = |reader: &mut Self| {
                let key = reader.literal(depth)?;
                if reader.take(":") { Ok((key, reader.literal(depth)?)) } else { Err(reader.unexpected()) }
            };
            return Ok(Literal::Dict(self.until("}", entry)?.0));
        }
        if self.take("[") {
            return Ok(Literal::List(self.until("]", |reader| reader.literal(depth))?.0));
        }
        if self.take("(") {
            let (mut items, comma) = self.until(")", |reader| reader.literal(depth))?;
            // Brackets around a single literal without a comma do not make a tuple.
            return Ok(if items.len() == 1 && !comma { items.remove(0) } else { Literal::Tuple(items) });
        }
        let unprefixed = self.rest.strip_prefix(['u', 'U', 'b', 'B']).filter(|rest| rest.starts_with(['\'', '"']));
        if let Some(quote) = unprefixed.unwrap_or(self.rest).chars().next().filter(|c| ['\'', '"'].contains(c)) {
            let (text, rest) = unprefixed.unwrap_or(self.rest)[1..]
                .split_once(quote)
                .ok_or_else(|| format!("the quote {quote} is never closed"))?;
            self.rest = rest.trim_start();
            return Ok(Literal::Text(text.to_owned()));
        }
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        // Python 2 wrote long numbers with an L.
        let digits = word.strip_suffix('L').unwrap_or(word);
        let literal = match word {
            "True" => Literal::Bool(true),
            "False" => Literal::Bool(false),
            _ if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Literal::Whole(digits.parse().ok())
            }
            _ => return Err(self.unexpected()),
        };
        self.rest = rest.trim_start();
        Ok(literal)
    }

    /// Parses comma-separated items up to the bracket `end`. The second value is `true` if there was a comma.
    fn until<T>(
        &mut self,
        end: &str,
        mut item: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Result<(Vec<T>, bool), String> {
        let (mut items, mut comma) = (Vec::new(), true);
        let mut any = false;
        while !self.take(end) {
            if !comma {
                return Err(self.unexpected());
            }
            items.push(item(self)?);
            comma = self.take(",");
            any |= comma;
        }
        Ok((items, any))
    }
}
